"""A dumped run for Google's Model Explorer: the graphs of its passes, and verdicts as node data.

The format is that of Model Explorer's `graph_builder` and `node_data_builder`, whose field names are kept: a collection
is `{label, graphs}`, node data is `{graph id: {name, results}}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from .palette import style_of

_CONSTANTS = frozenset({"parameter", "buffer", "constant"})


def graph_collection(page: Mapping[str, Any], label: str) -> dict[str, Any]:
    """What Model Explorer opens: a graph for every pass that changed one, in the order of the passes.

    Args:
        page: the data of a dump's page, as `visualize.page.data_of` reads it.
        label: what the collection is called.
    """
    graphs = [_graph(name, nodes, page["modules"]) for name, nodes in _graphs(page)]
    return {"label": label, "graphs": graphs, "graphSorting": "name_asc"}


def verdict_data(page: Mapping[str, Any]) -> dict[str, Any]:
    """Node data with the verdict of every op node, for each of the graphs that has verdicts."""
    data = {}
    for name, nodes in _graphs(page):
        results = {node.name: _verdict(fact.verdict) for node, fact in nodes if fact is not None}
        if results:
            data[name] = {
                "name": "verdict",
                "results": results,
                "showExpandedSummaryOnGroupNode": True,
                "showLabelCountColumnsInChildrenStatsTable": True,
            }
    return data


@dataclass(frozen=True)
class _Node:
    name: str
    kind: str
    op: str
    arguments: str
    type: str
    module: str
    source: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class _Fact:
    verdict: str
    reasons: tuple[tuple[str, str], ...]
    because: str
    segment: str


_Graph = Sequence[tuple[_Node, _Fact | None]]


def _graphs(page: Mapping[str, Any]) -> Iterator[tuple[str, _Graph]]:
    """The graph after each pass that changed something, by the name of its folder."""
    nodes = [_read_node(row, page["strings"]) for row in page["nodes"]]
    facts = [_read_fact(row, page["strings"]) for row in page["facts"]]
    seen: set[tuple[int, int]] = set()
    for item in page["passes"]:
        key = item["graph"], item["facts"]
        if key not in seen:
            seen.add(key)
            graph = [nodes[index] for index in _expanded(page["graphs"][item["graph"]], step=1)]
            known = [facts[index] for index in _expanded(page["fact_lists"][item["facts"]], step=0)]
            yield item["folder"], list(zip(graph, known, strict=True))


def _graph(name: str, nodes: _Graph, modules: Mapping[str, str]) -> dict[str, Any]:
    readers: dict[str, set[str]] = {}
    for node, _ in nodes:
        for read in node.inputs:
            readers.setdefault(read, set()).add(node.module)
    places = {node.name: _place(node, readers.get(node.name, set())) for node, _ in nodes}
    written = [_node(node, fact, places[node.name]) for node, fact in nodes]
    return {"id": name, "nodes": written, "groupNodeAttributes": _groups(modules)}


def _place(node: _Node, readers: set[str]) -> str:
    """The module of a node; for a parameter, which has none, that of all that read it."""
    if node.kind in _CONSTANTS and len(readers) == 1:
        return next(iter(readers))
    return node.module


def _expanded(runs: Sequence[int], step: int) -> Iterator[int]:
    for first, length in zip(runs[::2], runs[1::2], strict=True):
        yield from (first + step * place for place in range(length))


def _read_node(row: Sequence[Any], strings: Sequence[str]) -> _Node:
    *texts, _, inputs = row
    name, kind, op, arguments, type_, module, source = (strings[index] for index in texts)
    return _Node(name, kind, op, arguments, type_, module, source, tuple(strings[index] for index in inputs))


def _read_fact(row: Sequence[Any], strings: Sequence[str]) -> _Fact | None:
    if not row:
        return None
    verdict, reasons, because, segment = row
    sentences = tuple((strings[code], strings[message]) for code, message in reasons)
    return _Fact(strings[verdict], sentences, strings[because], strings[segment])


def _node(node: _Node, fact: _Fact | None, module: str) -> dict[str, Any]:
    written: dict[str, Any] = {
        "id": node.name,
        "label": node.name if node.kind in ("input", "output") else node.op,
        "namespace": module.replace(".", "/"),
        "attrs": _pairs(_attributes(node, fact)),
        "incomingEdges": [
            {"sourceNodeId": name, "sourceNodeOutputId": "0", "targetNodeInputId": str(place)}
            for place, name in zip(count(), node.inputs, strict=False)
        ],
        "outputsMetadata": [{"id": "0", "attrs": _pairs((("__tensor_tag", node.name), ("tensor_shape", node.type)))}],
    }
    if fact is not None:
        style = style_of(fact.verdict)
        written["style"] = {"backgroundColor": style.fill, "borderColor": style.border}
    return written


def _attributes(node: _Node, fact: _Fact | None) -> Iterator[tuple[str, str]]:
    yield "name", f"%{node.name}"
    yield "kind", node.kind
    yield "arguments", node.arguments
    yield "source", node.source
    if fact is not None:
        yield "verdict", fact.verdict
        yield "segment", fact.segment
        yield "because", f"%{fact.because}" if fact.because else ""
        for place, (code, message) in enumerate(fact.reasons):
            yield f"reason {place + 1}", f"{code}: {message}"


def _pairs(items: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in items if value]


def _groups(modules: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {path.replace(".", "/"): {"class": kind} for path, kind in modules.items() if path and kind}


def _verdict(verdict: str) -> dict[str, str]:
    return {"value": verdict, "bgColor": style_of(verdict).fill}
