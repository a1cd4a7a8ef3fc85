"""Which nodes of a dependency graph run in PyTorch so that predicted time is least: minimum cuts of small regions.

The graph is a plain ``networkx.DiGraph``; nothing here knows about PyTorch or TensorRT. A node in PyTorch that
reads from an engine pays half of what it costs to leave one and come back, and so does one that an engine reads. A
tensor that crosses pays for its bytes once. Under these costs the cut of a region is the best that there is. How
many engines there are, which the levels of ``segmentation`` decide, is not part of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

import networkx as nx
from networkx.algorithms.flow import boykov_kolmogorov

LARGE = 1000
"""Nodes of a region from which on nodes are weighed one by one, which takes linear time."""

_NANOSECONDS = 1000  # capacities are whole numbers, so that a cut is exact
_TIE = 1  # in nanoseconds: what costs the same runs in an engine
_PYTORCH, _ENGINE = ("pytorch",), ("engine",)  # the ends of a network, whose other nodes have names


@dataclass(frozen=True)
class Cost:
    """Microseconds that a node takes in an engine and in PyTorch."""

    engine: float
    pytorch: float


@dataclass(frozen=True)
class Prices:
    """What borders cost, in microseconds.

    Attributes:
        border: to leave an engine and come back.
        crossing: of the tensors of a node that cross, by its name; 0 for others.
        outside: nodes between which and others there is no border: inputs and outputs of the model.
    """

    border: float
    crossing: Mapping[str, float]
    outside: Collection[str] = ()


class Sides:
    """Decides where nodes of a graph run.

    Args:
        graph: see ``segmentation.segment``.
        costs: of the nodes that may run on either side; the others stay on their ``side``.
        prices: of borders.
    """

    def __init__(self, graph: nx.DiGraph, costs: Mapping[str, Cost], prices: Prices) -> None:
        self._graph, self._prices = graph, prices
        self._side: dict[str, str] = dict(graph.nodes(data="side"))
        self._costs = {name: cost for name, cost in costs.items() if self._side.get(name) == "trt"}

    def in_pytorch(self) -> set[str]:
        """The nodes that run in PyTorch, of those that may run on either side."""
        chosen: set[str] = set()
        for around in self._connected(self._costs, self._fixed()):
            if len(around) <= LARGE:
                chosen |= self._cut(around)
                continue
            for region in self._connected(around):
                near = region if len(region) <= LARGE else self._within_reach(region)
                for part in self._connected(near):
                    chosen |= self._one_by_one(part) if len(part) > LARGE else self._cut(part)
        return chosen

    def _fixed(self) -> set[str]:
        """Nodes of one side, whose neighbours share what is paid for them."""
        return {name for name in self._graph if name not in self._costs and self._counts(name)}

    def total(self, chosen: Collection[str]) -> float:
        """Microseconds of the nodes with costs, and of all borders, if some of them run in PyTorch."""
        total = sum(cost.pytorch if name in chosen else cost.engine for name, cost in self._costs.items())
        half = self._prices.border / 2
        for name in self._graph:
            if not self._counts(name):
                continue
            here = self._is_engine(name, chosen)
            readers = {self._is_engine(other, chosen) for other in self._readers(name)}
            total += self._crossing(name) * ((not here) in readers)
            if not here:
                total += half * (True in readers)
                total += half * any(self._is_engine(other, chosen) for other in self._producers(name))
        return total

    def _is_engine(self, name: str, chosen: Collection[str]) -> bool:
        return self._side[name] == "trt" and name not in chosen

    def _counts(self, name: str) -> bool:
        return self._side[name] != "free" and name not in self._prices.outside

    def _readers(self, name: str) -> Iterator[str]:
        return filter(self._counts, self._graph.succ[name])

    def _producers(self, name: str) -> Iterator[str]:
        return filter(self._counts, self._graph.pred[name])

    def _neighbours(self, name: str) -> Iterator[str]:
        yield from self._readers(name)
        yield from self._producers(name)

    def _crossing(self, name: str) -> float:
        return self._prices.crossing.get(name, 0.0)

    # --- regions ---------------------------------------------------------------------------------------------------
    def _connected(self, names: Iterable[str], by: Iterable[str] = ()) -> list[list[str]]:
        """Nodes in parts that are connected, also by some others, where a node may gain by PyTorch; in graph order."""
        wanted, place = set(names), {name: index for index, name in enumerate(self._side)}
        within = self._graph.subgraph(wanted.union(by)).to_undirected(as_view=True)
        connected = nx.connected_components(within)
        parts = [sorted(part & wanted, key=place.__getitem__) for part in connected]
        hopeful = [part for part in parts if any(self._gain(name) > 0 for name in part)]
        return sorted(hopeful, key=lambda part: place[part[0]])

    def _gain(self, name: str) -> float:
        """What PyTorch saves at most, the neighbours that run there apart."""
        cost = self._costs[name]
        gain = cost.engine - cost.pytorch
        for other in self._neighbours(name):
            if self._side[other] == "torch":
                gain += self._prices.border + self._crossing(name) + self._crossing(other)
        return gain

    def _within_reach(self, region: Iterable[str]) -> set[str]:
        """Nodes of a region that a gain of some other could pay for, as far as it lasts."""
        left: dict[str, float] = {}
        order = count()
        heap: list[tuple[float, int, str]] = []

        def offer(name: str, budget: float) -> None:
            if budget > left.get(name, 0.0):
                left[name] = budget
                heapq.heappush(heap, (-budget, next(order), name))

        for name in region:
            offer(name, self._gain(name))
        while heap:
            budget, _, name = heapq.heappop(heap)
            if -budget < left[name]:
                continue
            for other in self._neighbours(name):
                if other in self._costs:
                    cost = self._costs[other]
                    offer(other, left[name] - max(cost.pytorch - cost.engine, 0.0))
        return set(left)

    def _one_by_one(self, region: Iterable[str]) -> set[str]:
        chosen = set()
        for name in region:
            cost = self._costs[name]
            borders = self._prices.border + sum(map(self._crossing, (name, *self._producers(name))))
            if cost.pytorch + borders < cost.engine:
                chosen.add(name)
        return chosen

    # --- the cut of a region ---------------------------------------------------------------------------------------
    def _cut(self, region: list[str]) -> set[str]:
        """The nodes on PyTorch's side of the cheapest cut; arcs are paid from PyTorch's side to the engines' side."""
        free, network, half = set(region), nx.DiGraph(), self._prices.border / 2
        network.add_nodes_from((_PYTORCH, _ENGINE))
        around = {other for name in region for other in self._neighbours(name)} - free
        for name in region:
            _add(network, _PYTORCH, name, self._costs[name].engine)
            _add(network, name, _ENGINE, self._costs[name].pytorch, _TIE)
        for name in (*region, *sorted(around)):
            here: object = name if name in free else (_ENGINE if self._side[name] == "trt" else _PYTORCH)
            readers, producers = list(self._readers(name)), list(self._producers(name))
            if here != _ENGINE:
                self._apart(network, here, ("leaves", name), readers, free, _ENGINE, half + self._crossing(name))
                self._apart(network, here, ("enters", name), producers, free, _ENGINE, half)
            if here != _PYTORCH:
                self._apart(network, here, ("read", name), readers, free, _PYTORCH, self._crossing(name))
        _, (pytorch, _) = nx.minimum_cut(network, _PYTORCH, _ENGINE, flow_func=boykov_kolmogorov)
        return free.intersection(pytorch)

    def _apart(
        self,
        network: nx.DiGraph,
        here: object,
        key: object,
        others: Collection[str],
        free: set[str],
        end: tuple[str],
        price: float,
    ) -> None:
        """A price, paid once, if any of the others is on the side of `end` and `here` is not."""

        def towards(start: object, goal: object) -> tuple[object, object]:
            return (start, goal) if end == _ENGINE else (goal, start)

        there = "trt" if end == _ENGINE else "torch"
        if any(other not in free and self._side[other] == there for other in others):
            if here not in (_PYTORCH, _ENGINE):
                _add(network, *towards(here, end), price)
            return
        _add(network, *towards(here, key), price)
        network.add_edges_from(towards(key, other) for other in others if other in free)


def _add(network: nx.DiGraph, tail: object, head: object, price: float, more: int = 0) -> None:
    """Add a price to an arc; an arc without a capacity cannot be cut."""
    if price == float("inf"):
        network.add_edge(tail, head)
        network.edges[tail, head].pop("capacity", None)
        return
    known = network.edges[tail, head].get("capacity") if network.has_edge(tail, head) else 0
    if known is not None:
        network.add_edge(tail, head, capacity=known + round(price * _NANOSECONDS) + more)
