"""Microseconds of several calls on a GPU: as CUDA graphs, replayed in turns until the medians are known well enough."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch

PRECISE = 0.01
"""Uncertainty of a median, relative to it, with which repeats end: variants that differ by 3 % can be told apart."""

_ROUNDS, _MOST = 10, 60
_REPLAYS = 20


def timed(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """The microseconds of each call."""
    graphs = [_captured(call) for call in calls]
    times: list[list[float]] = [[] for _ in calls]
    while len(times[0]) < _MOST and not (len(times[0]) >= _ROUNDS and all(map(_is_precise, times))):
        for graph, own in zip(graphs, times, strict=True):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            for _ in range(_REPLAYS):
                graph.replay()
            end.record()
            end.synchronize()
            own.append(begin.elapsed_time(end) / _REPLAYS * 1000)
    return [statistics.median(own) for own in times]


def _is_precise(times: Sequence[float]) -> bool:
    spread = statistics.quantiles(times, n=4)
    middle = statistics.median(times)
    # The standard error of a median, from the quartiles of what is about normal.
    return bool((spread[2] - spread[0]) / 1.35 * 1.25 / len(times) ** 0.5 <= PRECISE * middle)


def _captured(call: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        call()
    return graph
