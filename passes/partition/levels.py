"""Levels: how many times the data has gone through PyTorch before it reaches a node.

Every TensorRT node gets a *level*, and the nodes of one level form one segment. Levels satisfy, for each edge u -> v,

    level(v) >= level(u) + 1   if u runs in PyTorch and v in TensorRT,
    level(v) >= level(u)       otherwise,

so edges between segments only ever lead from a lower to a higher level, and contracting the segments cannot close a
cycle. Two TensorRT nodes joined by a path through PyTorch can never share a segment; a longest chain of such nodes
therefore needs as many segments as it has nodes, and the earliest levels use exactly that many: the count is minimal.
"""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx


class LevelGraph:
    """The part of a dependency graph that decides levels, on integers: node i is ``names[i]``, in topological order.

    Args:
        graph: a DAG with node attributes ``side`` ("trt", "torch" or "free"), ``nbytes`` (int, default 0) and
            ``order`` (int, default 0; breaks ties between nodes that the edges leave unordered, before the name does).
        kept: the "trt" nodes that are still meant for TensorRT; the others run in PyTorch.
        heavy: the weight of nodes with the attribute ``heavy``, which are worth an engine alone; others weigh 1.

    Free nodes are left out: they are available on both sides, so no dependency through them matters.
    """

    def __init__(self, graph: nx.DiGraph, kept: Iterable[str], heavy: int = 1) -> None:
        attributes = graph.nodes
        order = nx.lexicographical_topological_sort(graph, key=lambda name: (attributes[name].get("order", 0), name))
        self.names: list[str] = [name for name in order if attributes[name]["side"] != "free"]
        index = {name: i for i, name in enumerate(self.names)}
        self.preds: list[list[int]] = [sorted(index[p] for p in graph.pred[n] if p in index) for n in self.names]
        self.succs: list[list[int]] = [sorted(index[s] for s in graph.succ[n] if s in index) for n in self.names]
        self.nbytes: list[int] = [int(attributes[name].get("nbytes", 0)) for name in self.names]
        self.weights: list[int] = [heavy if attributes[name].get("heavy") else 1 for name in self.names]
        wanted = set(kept)
        self.is_trt: list[bool] = [name in wanted for name in self.names]

    def trt_nodes(self) -> list[int]:
        """The nodes meant for TensorRT, in topological order."""
        return [i for i, trt in enumerate(self.is_trt) if trt]

    def lower_bound(self, node: int, levels: list[int], trt: bool) -> int:
        """The smallest level that the predecessors of ``node`` allow if it ran in TensorRT (``trt``) or in PyTorch."""
        bound = 0 if trt else -1
        for p in self.preds[node]:
            level = levels[p] + (trt and not self.is_trt[p])
            if level > bound:
                bound = level
        return bound

    def upper_bound(self, node: int, levels: list[int], trt: bool, last: int) -> int:
        """The largest level that the successors of ``node`` allow, at most ``last``."""
        bound = last
        for s in self.succs[node]:
            level = levels[s] - (self.is_trt[s] and not trt)
            if level < bound:
                bound = level
        return bound

    def earliest(self) -> list[int]:
        """The smallest possible level of each node; -1 for PyTorch nodes that no TensorRT node feeds."""
        levels = [0] * len(self.names)
        for i, trt in enumerate(self.is_trt):
            levels[i] = self.lower_bound(i, levels, trt)
        return levels

    def latest(self, count: int) -> list[int]:
        """The largest possible level of each node when ``count`` levels are used."""
        levels = [0] * len(self.names)
        for i in reversed(range(len(self.names))):
            levels[i] = self.upper_bound(i, levels, self.is_trt[i], count - 1)
        return levels
