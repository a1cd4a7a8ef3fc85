"""Bounds of nodes with very many neighbours, kept up to date instead of looked for among all of them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence

from .levels import LevelGraph

MANY = 32
"""Neighbours from which on a bound is kept."""


class Least:
    """The least of numbers that change one at a time, in time that grows with the logarithm of their number."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._counts = Counter(numbers)
        self._heap = list(self._counts)
        heapq.heapify(self._heap)

    def replace(self, old: int, new: int) -> None:
        """One of the numbers becomes another."""
        self._counts[old] -= 1
        if not self._counts[new]:
            heapq.heappush(self._heap, new)
        self._counts[new] += 1

    @property
    def value(self) -> int:
        """The least number."""
        while not self._counts[self._heap[0]]:
            heapq.heappop(self._heap)
        return self._heap[0]


class Bounds:
    """How early and how late nodes may be, given the levels of their neighbours.

    Args:
        graph: whose sides do not change meanwhile.
        early, late: the levels, which change through `set_early` and `set_late` only.
        last: the largest level.
    """

    def __init__(self, graph: LevelGraph, early: list[int], late: list[int], last: int) -> None:
        self.early, self.late = early, late
        self._graph, self._last = graph, last
        # A number of `Least` is negated where the largest is asked for.
        self._before = {i: Least(-self._low(p, i) for p in preds) for i, preds in _many(graph.preds)}
        self._after = {i: Least(self._high(s, i) for s in succs) for i, succs in _many(graph.succs)}

    def lowest(self, node: int) -> int:
        """The smallest level that the nodes before allow; see `LevelGraph.lower_bound`."""
        kept = self._before.get(node)
        if kept is None:
            return self._graph.lower_bound(node, self.early, self._graph.is_trt[node])
        return max(-kept.value, 0 if self._graph.is_trt[node] else -1)

    def highest(self, node: int) -> int:
        """The largest level that the nodes after allow; see `LevelGraph.upper_bound`."""
        kept = self._after.get(node)
        if kept is None:
            return self._graph.upper_bound(node, self.late, self._graph.is_trt[node], self._last)
        return min(kept.value, self._last)

    def set_early(self, node: int, level: int) -> None:
        """Set the smallest level of a node."""
        if self._before:
            for s in self._graph.succs[node]:
                if s in self._before:
                    old = self._low(node, s)
                    self._before[s].replace(-old, -(old + level - self.early[node]))
        self.early[node] = level

    def set_late(self, node: int, level: int) -> None:
        """Set the largest level of a node."""
        if self._after:
            for p in self._graph.preds[node]:
                if p in self._after:
                    old = self._high(node, p)
                    self._after[p].replace(old, old + level - self.late[node])
        self.late[node] = level

    def _low(self, before: int, node: int) -> int:
        return self.early[before] + (self._graph.is_trt[node] and not self._graph.is_trt[before])

    def _high(self, after: int, node: int) -> int:
        return self.late[after] - (self._graph.is_trt[after] and not self._graph.is_trt[node])


def _many(neighbours: Sequence[Sequence[int]]) -> list[tuple[int, Sequence[int]]]:
    return [(i, others) for i, others in enumerate(neighbours) if len(others) > MANY]
