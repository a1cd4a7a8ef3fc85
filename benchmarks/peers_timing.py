"""Times of a call on a GPU: medians of many, by the clock, on the host alone, and of the GPU alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import torch

REPEATS = 50


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def call_ms(call: Callable[..., Any], inputs: tuple[Any, ...]) -> float:
    """Wall-clock milliseconds of a call until the GPU is done."""
    times = []
    for _ in range(REPEATS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call(*inputs)
        torch.cuda.synchronize()
        times.append((time.perf_counter() - started) * 1e3)
    return _median(times)


def host_us(call: Callable[..., Any], inputs: tuple[Any, ...]) -> float:
    """Microseconds until a call returns, without waiting for the GPU."""
    times = []
    for _ in range(REPEATS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call(*inputs)
        times.append((time.perf_counter() - started) * 1e6)
    torch.cuda.synchronize()
    return _median(times)


def captured(call: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[Any, Any]:
    """A call as a `torch.cuda.CUDAGraph`, and its result, which every replay overwrites.

    Raises:
        RuntimeError: it cannot be captured.
    """
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call(*inputs)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        result = call(*inputs)
    return graph, result


def replay_ms(call: Callable[..., Any], inputs: tuple[Any, ...], rounds: int = 1) -> float | None:
    """The GPU time of one replay of the whole call; None when it cannot be captured (or replays a graph itself)."""
    try:
        graph, _ = captured(call, inputs)
    except RuntimeError as error:
        print(f"not captured: {str(error)[:200]}", file=sys.stderr)
        return None
    for _ in range(10):
        graph.replay()
    return min(_replayed(graph) for _ in range(rounds))


def _replayed(graph: torch.cuda.CUDAGraph) -> float:
    starts, ends = ([torch.cuda.Event(enable_timing=True) for _ in range(REPEATS)] for _ in range(2))
    for begin, end in zip(starts, ends, strict=True):
        begin.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    return _median([begin.elapsed_time(end) for begin, end in zip(starts, ends, strict=True)])


CALLS = MappingProxyType({"call_ms": call_ms, "host_us": host_us})
"""What is measured of calls, by the names that lines of results have for it."""
