"""Calls of a compiled module that leave nothing behind: before a capture, and to warm up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from ...ir.aliasing import written_tensors
from ..engine_graph import EngineGraph
from .capturable import draws_random_numbers


@contextmanager
def rehearsal(module: EngineGraph, device: torch.device) -> Iterator[None]:
    """Afterwards the module's buffers and PyTorch's random numbers are as they were, even if a call fails.

    Args:
        module: what is called meanwhile.
        device: on which it runs.
    """
    buffers = [module.get_tensor(name) for name in written_tensors(module.graph)[0]]
    gpus = [device] if device.type == "cuda" else []
    kept = torch.random.fork_rng(gpus) if draws_random_numbers(module.graph) else nullcontext()
    with torch.no_grad(), kept:
        saved = [tensor.clone() for tensor in buffers]
        try:
            yield
        finally:
            for tensor, value in zip(buffers, saved, strict=True):
                tensor.copy_(value)
