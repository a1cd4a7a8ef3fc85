"""A step of one token as a CUDA graph: the program, and the write of its new rows to the cache."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

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
        inputs: the tensors of a step, or lists of such, but those of the cache. What is the same tensor in the next
            call, as keys and values of a source are, is copied once.
        cache: holds the memory.

    Raises:
        CannotCapture: the program has something that cannot be captured.
    """

    def __init__(self, program: Any, inputs: Mapping[str, Any], cache: CompiledCache) -> None:
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
            self._inputs = pytree.tree_map(torch.clone, dict(inputs))
            self._seen: list[Seen | None] = [None] * len(pytree.tree_leaves(self._inputs))
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

    def __call__(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The logits of one more token, and its rows in the cache."""
        own = pytree.tree_leaves(self._inputs)
        given = pytree.tree_leaves({name: inputs[name] for name in self._inputs})
        for number, (place, tensor) in enumerate(zip(own, given, strict=True)):
            seen = self._seen[number]
            if seen is None or not seen.is_same(tensor):
                place.copy_(tensor)
                self._seen[number] = Seen.of(tensor)
        self._graph.replay()
        return self._logits.clone()


@dataclass(frozen=True)
class Seen:
    """A tensor as it was; where nothing counts what is written to it, it is never the same."""

    tensor: weakref.ref[torch.Tensor]
    version: int

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Seen | None:
        """Remember a tensor."""
        return None if tensor.is_inference() else cls(weakref.ref(tensor), tensor._version)

    def is_same(self, tensor: torch.Tensor) -> bool:
        """Whether it is the tensor that was seen, and was not written to since."""
        return self.tensor() is tensor and tensor._version == self.version
