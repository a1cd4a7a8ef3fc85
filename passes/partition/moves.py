"""Use the slack of levels: move nodes between segments to fill small ones and to make the boundaries cheaper.

A node whose earliest level is below its latest may live in any segment between. The moves here never add a segment
and never break the level rules (see ``segmentation_levels``). Every search counts its work and stops at a number of
steps proportional to the size of the graph, so that it stays near-linear on graphs made to defeat it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator

from .hubs import Bounds
from .levels import LevelGraph

_GROWTH_LIMIT = 48  # nodes that one tentative move may carry along: the longest chain that is moved as a whole
_VISITS = 256  # nodes that are asked whether they can fill a segment, for each segment and direction
_WORK_PER_NODE = 6  # moves and bound updates for each node of the graph in one search
_ROUNDS = 3  # sweeps later + earlier; a fourth has changed nothing on random graphs


class Placement:
    """Levels of all nodes, with all that is needed to try a move in time proportional to the degree of the node.

    Attributes:
        early: level of each TensorRT node; smallest level of each PyTorch node that the TensorRT nodes before it allow.
        late: level of each TensorRT node; largest level of each PyTorch node that the TensorRT nodes after it allow.
        count: number of levels in use.
        floor: weight of nodes that a segment must have.
        members: nodes of each segment in topological order.
        sizes: the weight of each segment, which is the number of its nodes unless some weigh more.
        short: number of segments below the floor.
        work: steps done so far.
    """

    def __init__(self, graph: LevelGraph, early: list[int], late: list[int], count: int, floor: int) -> None:
        self.graph, self.early, self.late, self.count, self.floor = graph, early, late, count, floor
        self.members: list[list[int]] = [[] for _ in range(count)]
        self._readers: list[Counter[int]] = [Counter() for _ in graph.names]
        for node in graph.trt_nodes():
            self.members[early[node]].append(node)
            for p in graph.preds[node]:
                self._readers[p][early[node]] += 1
        self._read_by_torch = [any(not graph.is_trt[s] for s in succs) for succs in graph.succs]
        self._bounds = Bounds(graph, early, late, count - 1)
        self.sizes = [sum(graph.weights[node] for node in nodes) for nodes in self.members]
        self.short = sum(size < floor for size in self.sizes)
        self.work = 0

    @classmethod
    def earliest(cls, graph: LevelGraph, floor: int) -> Placement:
        """Every node at its earliest level."""
        early = graph.earliest()
        count = 1 + max((early[i] for i in graph.trt_nodes()), default=-1)
        return cls(graph, early, late_bounds(graph, early, count), count, floor)

    def boundary_bytes(self) -> int:
        """Bytes that enter or leave segments: each tensor once per segment that reads it, once where it is written."""
        return sum(self._tensor_bytes(i) for i in range(len(self.graph.names)))

    def _tensor_bytes(self, node: int) -> int:
        readers = self._readers[node]
        crossings = len(readers)
        if self.graph.is_trt[node]:
            crossings -= self.early[node] in readers
            crossings += crossings > 0 or self._read_by_torch[node]
        return crossings * self.graph.nbytes[node]

    def move(self, node: int, level: int) -> int:
        """Move a TensorRT node to ``level`` and return by how many bytes the boundaries grew."""
        old, preds = self.early[node], self.graph.preds[node]
        before = self._tensor_bytes(node) + sum(map(self._tensor_bytes, preds))
        for p in preds:
            readers = self._readers[p]
            readers[level] += 1
            readers[old] -= 1
            if not readers[old]:
                del readers[old]
        source, target = self.members[old], self.members[level]
        weight, floor = self.graph.weights[node], self.floor
        self.short += self.sizes[old] - weight < floor <= self.sizes[old]
        self.short -= self.sizes[level] < floor <= self.sizes[level] + weight
        self.sizes[old] -= weight
        self.sizes[level] += weight
        del source[bisect_left(source, node)]
        insort(target, node)
        self._bounds.set_early(node, level)
        self._bounds.set_late(node, level)
        self._update_torch_bounds(node)
        return self._tensor_bytes(node) + sum(map(self._tensor_bytes, preds)) - before

    def _update_torch_bounds(self, node: int) -> None:
        """Bring ``late`` of the PyTorch nodes before, and ``early`` of those after ``node``, up to date."""
        graph = self.graph
        self.work += 1
        for late in (True, False):
            bounds, neighbours = (self.late, graph.preds) if late else (self.early, graph.succs)
            highest_or_lowest = self._bounds.highest if late else self._bounds.lowest
            set_bound = self._bounds.set_late if late else self._bounds.set_early
            sign = -1 if late else 1  # nearest first, so that each is updated once
            heap = [sign * n for n in neighbours[node] if not graph.is_trt[n]]
            heapq.heapify(heap)
            while heap:
                torch_node = abs(heapq.heappop(heap))
                self.work += 1
                bound = highest_or_lowest(torch_node)
                if bound != bounds[torch_node]:
                    set_bound(torch_node, bound)
                    for n in neighbours[torch_node]:
                        if not graph.is_trt[n]:
                            heapq.heappush(heap, sign * n)

    def highest(self, node: int) -> int:
        """The largest level that a TensorRT node can have while all others stay where they are."""
        return self._bounds.highest(node)

    def lowest(self, node: int) -> int:
        """The smallest level that a TensorRT node can have while all others stay where they are."""
        return self._bounds.lowest(node)

    def target(self, node: int, late: bool) -> int:
        """The level next to the nodes after (``late``) or before this one; its own where there is nothing to follow."""
        if late:
            return self.highest(node) if self.graph.succs[node] else self.early[node]
        return self.lowest(node) if self.graph.preds[node] else self.early[node]


def late_bounds(graph: LevelGraph, levels: list[int], count: int) -> list[int]:
    """A copy of ``levels`` with each PyTorch node as late as the TensorRT nodes after it allow."""
    late = levels.copy()
    for i in reversed(range(len(late))):
        if not graph.is_trt[i]:
            late[i] = graph.upper_bound(i, late, False, count - 1)
    return late


def fill_small_segments(place: Placement) -> None:
    """Move nodes with slack into segments below the floor, from segments that can spare them.

    The segment that lacks least is filled first, from those above the floor and then from those that lack more. A
    segment that cannot be filled gets nothing: what little there is may be enough for the next one.
    """
    sizes = place.sizes.copy()
    for level in sorted((i for i, size in enumerate(sizes) if size < place.floor), key=lambda i: -sizes[i]):
        moved: list[tuple[int, int]] = []
        for spare_small in (False, True):
            for late in (True, False):
                _draw(place, level, late, spare_small, moved)
        if place.sizes[level] < place.floor:
            for node, old in reversed(moved):
                place.move(node, old)
        if place.work > _WORK_PER_NODE * len(place.early):
            return


def _draw(place: Placement, level: int, late: bool, spare_small: bool, moved: list[tuple[int, int]]) -> None:
    """Draw nodes from the segments before (``late``) or after ``level``, nearest first, until it reaches the floor."""
    visits = 0
    weights, sizes = place.graph.weights, place.sizes
    for other in reversed(range(level)) if late else range(level + 1, place.count):
        giving = place.members[other]
        for node in reversed(giving) if late else tuple(giving[:_VISITS]):
            left = sizes[other] - weights[node]
            spare = left >= place.floor or (spare_small and sizes[other] < sizes[level])
            visits += 1
            if sizes[level] >= place.floor or visits > _VISITS:
                return
            if not spare:
                if weights[node] > 1:
                    continue
                break
            if (place.highest(node) >= level) if late else (place.lowest(node) <= level):
                moved.append((node, other))
                place.move(node, level)


def reduce_boundary_bytes(place: Placement) -> None:
    """Move nodes, alone or with the chain behind them, to the segment of their readers or of their operands.

    An expanded mask goes where it is used, a reduction stays where its operand is made.
    """
    nodes = place.graph.trt_nodes()
    limit = place.work + _WORK_PER_NODE * len(place.early)
    for _ in range(_ROUNDS):
        saved = 0
        for late in (True, False):
            for node in reversed(nodes) if late else nodes:
                if place.work < limit and place.target(node, late) != place.early[node]:
                    saved -= _grow(place, node, late)
        if not saved:
            return


def _grow(place: Placement, root: int, late: bool) -> int:
    """Move ``root``, then the cheapest neighbours that may follow; keep the best prefix of these moves.

    Carrying on past a move that costs bytes is what finds a tensor that is small before a large intermediate one.
    Returns the change in bytes, at most 0.
    """
    heap = [(0, root)]
    moved: list[tuple[int, int]] = []
    total = best = keep = 0
    while heap and len(moved) < _GROWTH_LIMIT:
        _, node = heapq.heappop(heap)
        old, new = place.early[node], place.target(node, late)
        if new == old:
            continue
        total += place.move(node, new)
        moved.append((node, old))
        if total < best and not place.short:
            best, keep = total, len(moved)
        for follower in _followers(place, node, late):
            heapq.heappush(heap, (_price(place, follower, late), follower))
    for node, old in reversed(moved[keep:]):
        place.move(node, old)
    return best


def _price(place: Placement, node: int, late: bool) -> int:
    old = place.early[node]
    price = place.move(node, place.target(node, late))
    place.move(node, old)
    return price


def _followers(place: Placement, node: int, late: bool) -> Iterator[int]:
    """TensorRT nodes that may move once ``node`` has: those behind it, or else the siblings that hold them back."""
    graph = place.graph
    behind, ahead = (graph.preds, graph.succs) if late else (graph.succs, graph.preds)
    for other in behind[node]:
        if not graph.is_trt[other]:
            continue
        level = place.early[other]
        if place.target(other, late) != level:
            yield other
            continue
        for sibling in ahead[other][:_GROWTH_LIMIT]:
            if graph.is_trt[sibling] and place.early[sibling] == level and place.target(sibling, late) != level:
                yield sibling
