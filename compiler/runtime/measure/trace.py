"""What ran on a GPU, from a trace of PyTorch's profiler: every kernel with the call and the node that launched it.

Everything here is a function of the events of a Chrome trace, so that recorded traces can be joined anywhere.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PREFIX = "trt_passes::"
"""What the names of ranges begin with that stand for nodes."""

CALL = f"{PREFIX}call"
"""The range around one call of the module."""

ON_GPU = {"kernel": "kernel", "gpu_memcpy": "copy", "gpu_memset": "fill"}
_LAUNCHES = frozenset({"cuda_runtime", "cuda_driver"})


@dataclass(frozen=True)
class Launch:
    """A kernel, copy or fill: its name, what launched it (the name of a node, "" if that is not known), and its time.

    `operator` is the innermost operator of PyTorch around the launch, such as "aten::sort". Times are microseconds.
    """

    name: str
    kind: str
    node: str
    operator: str
    call: int
    start: float
    us: float


@dataclass(frozen=True)
class Kernel:
    """The launches at one place of the sequence of a node's kernels, over all calls: `us` is their median."""

    name: str
    kind: str
    node: str
    operator: str
    us: float


def launches(events: Iterable[Mapping[str, Any]]) -> list[Launch]:
    """What ran on the GPU inside of calls, in the order in which it began."""
    ranges: dict[Any, _Ranges] = {}
    launched: dict[Any, tuple[Any, float]] = {}
    ran: list[Mapping[str, Any]] = []
    for event in events:
        category = event.get("cat")
        if category in ON_GPU:
            ran.append(event)
        elif category in _LAUNCHES:
            correlation = event.get("args", {}).get("correlation")
            launched[correlation] = (event.get("tid"), float(event["ts"]))
        elif category in ("user_annotation", "cpu_op"):
            ranges.setdefault(event.get("tid"), _Ranges()).add(event)
    calls = sorted((start, end) for item in ranges.values() for start, end, name in item.nodes if name == CALL)
    for item in ranges.values():
        item.sort()
    found = []
    for event in sorted(ran, key=lambda event: float(event["ts"])):
        thread, when = launched.get(event.get("args", {}).get("correlation"), (None, None))
        if when is None:
            continue
        call = next((index for index, (start, end) in enumerate(calls) if start <= when <= end), None)
        if call is None:
            continue
        known = ranges.get(thread)
        node, operator = ("", "") if known is None else known.around(when)
        found.append(
            Launch(
                str(event["name"]),
                ON_GPU[str(event["cat"])],
                node,
                operator,
                call,
                float(event["ts"]),
                float(event.get("dur", 0.0)),
            )
        )
    return found


class _Ranges:
    """The ranges of one thread: those of nodes, which do not overlap but for the calls around them, and operators."""

    def __init__(self) -> None:
        self.nodes: list[tuple[float, float, str]] = []
        self._operators: list[tuple[float, float, str]] = []

    def add(self, event: Mapping[str, Any]) -> None:
        start, name = float(event["ts"]), str(event["name"])
        row = (start, start + float(event.get("dur", 0.0)), name)
        if name.startswith(PREFIX) and event.get("cat") == "user_annotation":
            self.nodes.append(row)
        elif event.get("cat") == "cpu_op":
            self._operators.append(row)

    def sort(self) -> None:
        self.nodes = sorted(row for row in self.nodes if row[2] != CALL)
        self._operators.sort()

    def around(self, when: float) -> tuple[str, str]:
        """The node, and the innermost operator, during which something happened."""
        return _innermost(self.nodes, when).removeprefix(PREFIX), _innermost(self._operators, when)


def _innermost(rows: Sequence[tuple[float, float, str]], when: float) -> str:
    """The range that began last of those that hold a moment; those that begin long before are not looked for."""
    index = bisect_right(rows, (when, float("inf"), ""))
    for start, end, name in reversed(rows[max(0, index - 64) : index]):
        if start <= when <= end:
            return name
    return ""


def kernels(found: Sequence[Launch]) -> list[Kernel]:
    """The kernels of one call, each with the median of its times; in order of the first call.

    Where the calls of a node launched different numbers of kernels, those of the same name are averaged over the calls.
    """
    calls = sorted({launch.call for launch in found})
    by_node: dict[str, dict[int, list[Launch]]] = {}
    for launch in found:
        by_node.setdefault(launch.node, {}).setdefault(launch.call, []).append(launch)
    made: dict[str, list[Kernel]] = {}
    for node, runs in by_node.items():
        sequences = [[item.name for item in runs.get(call, [])] for call in calls]
        if all(sequence == sequences[0] for sequence in sequences):
            columns = zip(*(runs[call] for call in calls), strict=True)
            made[node] = [
                Kernel(same[0].name, same[0].kind, node, same[0].operator, statistics.median(x.us for x in same))
                for same in columns
            ]
            continue
        sums: dict[tuple[str, str, str], float] = {}
        for call in calls:
            for item in runs.get(call, []):
                key = (item.name, item.kind, item.operator)
                sums[key] = sums.get(key, 0.0) + item.us / len(calls)
        made[node] = [Kernel(name, kind, node, operator, us) for (name, kind, operator), us in sums.items()]
    return [kernel for group in made.values() for kernel in group]


def spans(found: Sequence[Launch]) -> tuple[float, float]:
    """Medians over the calls: microseconds from the first start to the last end, and those in which nothing ran."""
    by_call: dict[int, list[Launch]] = {}
    for launch in found:
        by_call.setdefault(launch.call, []).append(launch)
    lengths, idle = [0.0], [0.0]
    for group in by_call.values():
        until = start = group[0].start
        gaps = 0.0
        for launch in group:
            gaps += max(0.0, launch.start - until)
            until = max(until, launch.start + launch.us)
        lengths.append(until - start)
        idle.append(gaps)
    return statistics.median(lengths[1:] or lengths), statistics.median(idle[1:] or idle)
