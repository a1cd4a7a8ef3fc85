"""PyTorch islands: the op nodes between engines, grouped so that engines and islands can run one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import networkx as nx

from ...passes.partition.segmentation import segment
from ..ir.dependencies import dependency_graph, producer_of
from ..ir.program import Program, is_symbolic


@dataclass(frozen=True)
class Island:
    """Op nodes that PyTorch runs together, in graph order; arithmetic on sizes belongs to no island."""

    name: str
    nodes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order."""
        return {"name": self.name, "nodes": list(self.nodes)}


def islands(program: Program) -> tuple[Island, ...]:
    """The PyTorch islands of a partitioned program, named "pytorch-00", … in an order in which they can run.

    Contracting every segment and every island leaves a graph without cycles. Nodes that share no data are in islands
    of their own. Near-linear in nodes and edges.
    """
    home = {name: item.name for item in program.segments for name in item.nodes}
    graph = dependency_graph(program, home)
    quotient = _between_engines(program, graph, home)
    result = segment(quotient, 1, max(2, len(quotient)), merge_independent=False)
    island_of = {name: index for index, group in enumerate(result.segments) for name in group}
    members: dict[int, list[str]] = {}
    for node in program.op_nodes:
        index = island_of.get(producer_of(node).name)
        if index is not None:
            members.setdefault(index, []).append(node.name)
    return tuple(Island(f"pytorch-{index:02d}", tuple(members[index])) for index in sorted(members))


def _between_engines(program: Program, graph: nx.DiGraph, home: Mapping[str, str]) -> nx.DiGraph:
    """The dependency graph with a node for each segment, in which what PyTorch runs is to be grouped."""
    grouped = {node.name for node in program.op_nodes if not is_symbolic(node)}
    place = {name: home.get(name, name) if side == "trt" else name for name, side in graph.nodes(data="side")}
    quotient = nx.DiGraph()
    for name, attributes in graph.nodes(data=True):
        if place[name] not in quotient:
            side = attributes["side"]
            if side != "free":
                side = "trt" if side == "torch" and name in grouped else "torch"
            quotient.add_node(place[name], side=side, nbytes=attributes["nbytes"], order=attributes["order"])
    quotient.add_edges_from((place[u], place[v]) for u, v in graph.edges if place[u] != place[v])
    return quotient
