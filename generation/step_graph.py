"""A step of one token as a CUDA graph: the program, and the write of its new rows to the cache."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch

from ..compiler.ir.collector import collector_paused
from ..compiler.runtime.cuda_graphs.graph_capture import module_obstacle
from ..compiler.runtime.cuda_graphs.recorder import CannotCapture
from ..compiler.runtime.engine.engine import Contexts
from ..compiler.runtime.engine.exclusive import CAPTURING
from .cache import CompiledCache

_WARM_UP_RUNS = 3
"""Runs before a capture: kernels are compiled and memory is allocated in them, which a capture does not allow."""


class StepGraph:
    """Replays a step on the memory of one cache, which it reads and writes in place: nothing of the cache is copied.

    Args:
        program: the compiled step.
        inputs: the tensors of a step, but those of the cache.
        cache: holds the memory.

    Raises:
        CannotCapture: the program has something that cannot be captured.
    """

    def __init__(self, program: Any, inputs: Mapping[str, torch.Tensor], cache: CompiledCache) -> None:
        device = cache.target
        reason = module_obstacle(program, device)
        if reason is not None:
            raise CannotCapture(reason)
        self._program, self._caches, self._blocks = program, cache.tensors(), cache.blocks
        self._in_place = cache.layout.in_place
        # A captured graph needs execution contexts that nobody else uses.
        self._engines = program.engines_on(device)
        self._contexts: list[Contexts] = [{} for _ in self._engines]
        with torch.inference_mode(False), torch.no_grad(), CAPTURING:
            self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
            self._graph, self._logits = self._captured(device)

    def _captured(self, device: torch.device) -> tuple[Any, torch.Tensor]:
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        current = torch.cuda.current_stream(device)
        side.wait_stream(current)
        try:
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP_RUNS):
                    self._step()
        finally:
            current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            with collector_paused(), torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                return graph, self._step()
        except RuntimeError as error:
            raise CannotCapture(f"the capture failed: {str(error).strip().splitlines()[0]}") from error

    def _step(self) -> torch.Tensor:
        """Run it; the same rows come to the same place each time, so what was filled before stays as it is."""
        with ExitStack() as stack:
            for engine, contexts in zip(self._engines, self._contexts, strict=True):
                stack.enter_context(engine.own_contexts(contexts))
            logits, *rows = self._program(**self._inputs, caches=self._caches)
        if self._in_place:
            for tensor, new in zip(self._caches, rows, strict=True):
                if new.data_ptr() != tensor.data_ptr():
                    tensor.copy_(new)
        else:
            for block, new in zip(self._blocks, rows, strict=True):
                block.index_copy_(3, self._inputs["start"], new)
        result: torch.Tensor = logits
        return result

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The logits of one more token, and its rows in the cache."""
        for name, tensor in inputs.items():
            self._inputs[name].copy_(tensor)
        self._graph.replay()
        return self._logits.clone()
