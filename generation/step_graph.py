"""A step of one token as a CUDA graph: the program, and the write of its new rows to the cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .cache import CompiledCache

_WARM_UP_RUNS = 3
"""Runs before a capture: kernels are compiled and memory is allocated in them, which a capture does not allow."""


class StepGraph:
    """Replays a step on the memory of one cache, which it reads and writes in place: nothing of the cache is copied.

    Args:
        program: the compiled step.
        inputs: the tensors of a step, but those of the cache.
        cache: holds the memory.
    """

    def __init__(self, program: Any, inputs: Mapping[str, torch.Tensor], cache: CompiledCache) -> None:
        self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        caches, blocks = cache.tensors(), cache.blocks

        def step() -> torch.Tensor:
            logits, *rows = program(**self._inputs, caches=caches)
            for block, new in zip(blocks, rows, strict=True):
                block.index_copy_(3, self._inputs["start"], new)
            result: torch.Tensor = logits
            return result

        # Runs write the same rows to the same place, so what was filled before stays as it is.
        side = torch.cuda.Stream(cache.target)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(cache.target))
        with torch.cuda.stream(side), torch.no_grad():
            for _ in range(_WARM_UP_RUNS):
                step()
        torch.cuda.current_stream(cache.target).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
            self._logits = step()

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The logits of one more token, and its rows in the cache."""
        for name, tensor in inputs.items():
            self._inputs[name].copy_(tensor)
        self._graph.replay()
        return self._logits.clone()
