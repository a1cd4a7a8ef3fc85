"""Segments that the user gives: checked, and refused with the path that makes them impossible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import networkx as nx

from ...compiler.errors import UserError, did_you_mean
from ...compiler.ir.annotations import reasons_of, verdict_of
from ...compiler.ir.dependencies import producer_of
from ...compiler.ir.ledger import Reason, Verdict
from ...compiler.ir.partition_file import PartitionFile, precision_of
from ...compiler.ir.program import Program, Segment, is_symbolic
from .borders import border_refusals, segments_of
from .given_casts import beside_readers, beside_sources

Groups = list[tuple[str, ...]]


def given_segments(
    program: Program, graph: nx.DiGraph[str], file: PartitionFile, wanted: set[str]
) -> tuple[tuple[Segment, ...], dict[str, Reason]]:
    """The segments of a file, and the reason for every op node that it keeps in PyTorch.

    Nodes that have the verdict `excluded`, or that failed to be converted or built since then, are left out, and what
    is left of their segments is cut so that no part waits for itself.

    Args:
        program: with verdicts.
        graph: its dependencies, see `dependency_graph`.
        file: what the user wants.
        wanted: names of the op nodes that TensorRT can take.

    Raises:
        UserError: something in the file cannot be.
    """
    file = file.among({node.name for node in program.op_nodes})
    _check_names(program, file)
    _check_precision(program, file)
    groups, shorter = _groups(program, file, wanted)
    able = wanted - file.excluded
    groups = beside_sources(program, groups, able)
    groups = {
        f"{name}.{index}" if name in shorter else name: part
        for name, group in groups.items()
        for index, part in enumerate(_convex(graph, group) if name in shorter else [group])
    }
    cycle = _cycle(graph, groups)
    if cycle:
        raise UserError(f"{file.path} cannot be: an engine would wait for itself, since {cycle}.")
    groups = beside_readers(program, groups, able, _places(graph, groups))
    segments = segments_of(program, wanted, _in_order(graph, groups))
    refused = border_refusals(program, segments)
    if refused and not shorter:
        name, reason = next(iter(refused.items()))
        raise UserError(f"{file.path} cannot be: %{name} ({reason.code}): {reason.message}")
    while refused:
        groups = {name: tuple(node for node in group if node not in refused) for name, group in groups.items()}
        groups = {name: group for name, group in groups.items() if group}
        segments = segments_of(program, wanted, _in_order(graph, groups))
        refused = border_refusals(program, segments)
    taken = {node for group in groups.values() for node in group}
    reason = Reason("TP403", f"{file.path} puts it into no segment.")
    nodes = program.nodes_by_name
    left = (name for name in wanted if producer_of(nodes[name]).name not in taken)
    return segments, {name: reason for name in left if not is_symbolic(nodes[name])}


def _check_names(program: Program, file: PartitionFile) -> None:
    known = {node.name for node in program.op_nodes}
    for segment, names in file.segments.items():
        for name in names:
            if name not in known:
                raise UserError(
                    f"{file.path}: {segment} has %{name}, which the program has not.{did_you_mean(name, known)}"
                )
    for name in (*file.excluded, *file.taken, *file.precision):
        if name not in known:
            raise UserError(f"{file.path} names %{name}, which the program has not.{did_you_mean(name, known)}")


def _check_precision(program: Program, file: PartitionFile) -> None:
    found = precision_of(program)
    for name, wanted in file.precision.items():
        if found.get(name, wanted) != wanted:
            raise UserError(
                f"{file.path}: the precision of %{name} should be {wanted} and is {found[name]}. lower.cast-precision "
                "decides it, for nodes that are there when it runs and that the model itself computes in float32."
            )


def _groups(program: Program, file: PartitionFile, wanted: set[str]) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """The operators of each segment that TensorRT can take; the segments that lack some that the file lists for them.

    Those have the verdict `excluded` in the file, or failed since it was written.
    """
    nodes = program.nodes_by_name
    groups: dict[str, tuple[str, ...]] = {}
    shorter: set[str] = set()
    for segment, names in (*file.segments.items(), ("", sorted(file.taken))):
        kept = []
        for name in names:
            node = nodes[name]
            if producer_of(node) is not node or is_symbolic(node):
                continue
            if (name in file.excluded and name in wanted) or verdict_of(node) is Verdict.FAILED:
                shorter.add(segment)
            elif name not in wanted:
                why = "; ".join(f"{reason.code}: {reason.message}" for reason in reasons_of(node))
                place = segment or "TensorRT"
                raise UserError(f"{file.path}: %{name} cannot be in {place}, it is {verdict_of(node)} ({why})")
            else:
                kept.append(name)
        if kept and segment:
            groups[segment] = tuple(kept)
    return groups, shorter


def _quotient(graph: nx.DiGraph[str], groups: Mapping[str, Sequence[str]]) -> nx.DiGraph[str]:
    """The graph with every segment as one node; an edge knows two nodes that it stands for."""
    home = {node: f"segment:{name}" for name, group in groups.items() for node in group}
    found: nx.DiGraph[str] = nx.DiGraph()
    for node, side in graph.nodes(data="side"):
        if side != "free":
            found.add_node(home.get(node, node))
    for source, target in graph.edges:
        if "free" in (graph.nodes[source]["side"], graph.nodes[target]["side"]):
            continue
        left, right = home.get(source, source), home.get(target, target)
        if left != right and not found.has_edge(left, right):
            found.add_edge(left, right, pair=(source, target))
    return found


def _cycle(graph: nx.DiGraph[str], groups: Mapping[str, Sequence[str]]) -> str:
    """A path from a segment back to it, in words; "" if there is none."""
    quotient = _quotient(graph, groups)
    try:
        edges = nx.find_cycle(quotient)
    except nx.NetworkXNoCycle:
        return ""
    start = next((i for i, edge in enumerate(edges) if edge[0].startswith("segment:")), 0)
    ordered = [*edges[start:], *edges[:start]]
    text = ""
    for left, right, *_ in ordered:
        source, target = quotient.edges[left, right]["pair"]
        if not text.endswith(_place(left, source)):
            text += f"{', and ' if text else ''}{_place(left, source)}"
        text += f" → {_place(right, target)}"
    return text


def _place(group: str, node: str) -> str:
    if group.startswith("segment:"):
        return f"%{node} in {group.removeprefix('segment:')}"
    return f"%{node} in PyTorch"


def _in_order(graph: nx.DiGraph[str], groups: Mapping[str, tuple[str, ...]]) -> Groups:
    """The segments in an order in which they can run, those that may come first in order of the graph."""
    return [groups[name] for name in _places(graph, groups) if name in groups]


def _places(graph: nx.DiGraph[str], groups: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Where in such an order the segments come, by name, and the nodes that stay in PyTorch, by "%" and theirs."""
    quotient = _quotient(graph, groups)
    first = {f"segment:{name}": min(graph.nodes[node]["order"] for node in group) for name, group in groups.items()}

    def order(name: str) -> tuple[int, str]:
        return first.get(name, graph.nodes[name]["order"] if name in graph else 0), name

    ordered = nx.lexicographical_topological_sort(quotient, key=order)
    return {
        name.removeprefix("segment:") if name.startswith("segment:") else f"%{name}": place
        for place, name in enumerate(ordered)
    }


def _convex(graph: nx.DiGraph[str], group: Iterable[str]) -> Groups:
    """A group in pieces, none of which leads back to itself through what is not in it."""
    members = set(group)
    level: dict[str, int] = {}
    for node in nx.topological_sort(graph):
        if graph.nodes[node]["side"] == "free":
            continue
        found = -1
        for source in graph.predecessors(node):
            if source in level:
                step = 1 if node in members and source not in members and level[source] >= 0 else 0
                found = max(found, level[source] + step)
        level[node] = max(found, 0) if node in members else found
    pieces: dict[int, list[str]] = {}
    for node in sorted(members, key=lambda name: graph.nodes[name]["order"]):
        pieces.setdefault(level[node], []).append(node)
    return [tuple(pieces[index]) for index in sorted(pieces)]
