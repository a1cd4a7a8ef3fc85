"""Pictures of operators: a whole program or one segment, one box per operator, collapsed until it can be read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import torch
from torch.export.graph_signature import InputKind
from torch.fx import Graph, Node

from ..compiler.ir.annotations import annotations_of, reasons_of, segment_of, verdict_of
from ..compiler.ir.program import Program, Segment, is_getitem, is_symbolic
from ..compiler.ir.source import module_of, source_of
from ..compiler.ir.text import argument_text, node_text, op_name, type_text
from .collapse import collapsed
from .picture import Box, Edge, Kind, Picture, merged_edges

PROGRAM_LIMIT = 1500
SEGMENT_LIMIT = 400
_MAX_LINE = 44
_MAX_TOOLTIP = 600


def program_picture(
    program: Program, touched: Collection[str] = (), title: str = "program", limit: int = PROGRAM_LIMIT
) -> Picture:
    """A whole program, one box per operator; `touched` names nodes to draw with a thick border.

    Repeated blocks are drawn once. Above `limit` boxes, modules are folded until the picture has at most 400.
    """
    picture = _untold(program.graph, parameter_labels(program), touched, title)
    return _told(collapsed(picture, limit, min(limit, SEGMENT_LIMIT)), program.nodes_by_name)


def segment_picture(program: Program, segment: Segment, limit: int = SEGMENT_LIMIT) -> Picture:
    """One segment with the values that enter and leave it, at most `limit` boxes."""
    return segment_pictures(program, (segment,), limit)[segment.name]


def segment_pictures(program: Program, segments: Iterable[Segment], limit: int = SEGMENT_LIMIT) -> dict[str, Picture]:
    """The pictures of several segments of one program by name, for the price of little more than one."""
    whole, nodes = _untold(program.graph, parameter_labels(program)), program.nodes_by_name
    pictures = {}
    for segment in segments:
        title = f"{segment.name}: {len(segment.nodes):,} op node{'' if len(segment.nodes) == 1 else 's'}"
        part = replace(_cut_out(whole, nodes, segment), title=title)
        pictures[segment.name] = _told(collapsed(part, limit, limit), nodes)
    return pictures


def graph_picture(
    graph: Graph, parameters: Mapping[str, str] | None = None, touched: Collection[str] = (), title: str = "graph"
) -> Picture:
    """A bare fx graph, one box per operator, nothing collapsed.

    Args:
        graph: its `get_attr` nodes are drawn like parameters: as text in their consumers.
        parameters: names of placeholders that are parameters, with the text to show for them.
        touched: names of nodes that get a thick border.
        title: of the picture.
    """
    return _told(_untold(graph, parameters, touched, title), {node.name: node for node in graph.nodes})


def _untold(
    graph: Graph, parameters: Mapping[str, str] | None = None, touched: Collection[str] = (), title: str = "graph"
) -> Picture:
    """The picture of a graph whose boxes have no tooltips yet: most of a large graph's boxes are never drawn."""
    known = dict(parameters or {})
    known.update({node.name: str(node.target).rsplit(".", 1)[-1] for node in graph.nodes if node.op == "get_attr"})
    drawn = [node for node in graph.nodes if node.name not in known and not is_getitem(node)]
    owner = {node.name: _producer(node).name for node in graph.nodes if is_getitem(node)}
    merged: dict[str, list[Node]] = {}
    for node in graph.nodes:
        merged.setdefault(owner.get(node.name, node.name), []).append(node)
    thick = frozenset(touched)
    boxes = tuple(_box(node, merged[node.name], known, thick) for node in drawn)
    leaving = {
        node: Edge(node.name, "", is_size=is_symbolic(node), tooltip=_edge_tooltip(node))
        for node in graph.nodes
        if node.name not in known
    }
    edges = (
        replace(leaving[source], target=node.name)
        for node in graph.nodes
        if not is_getitem(node)
        for source in node.all_input_nodes
        if source in leaving
    )
    return Picture(title, boxes, merged_edges(edges, owner))


def _told(picture: Picture, nodes: Mapping[str, Node]) -> Picture:
    """The picture with a tooltip for each box that stands for an operator, an input or an output."""
    boxes = (box if box.tooltip else replace(box, tooltip=tooltip_of(nodes[box.nodes[0]])) for box in picture.boxes)
    return replace(picture, boxes=tuple(boxes))


def parameter_labels(program: Program) -> dict[str, str]:
    """Placeholders that are not the caller's, with the last word of what they are called in the model.

    Constants that a pass made are all called the same, so that blocks stay equal when their weights were folded.
    """
    return {
        name: "constant" if spec.kind is InputKind.CONSTANT_TENSOR else str(spec.target or name).rsplit(".", 1)[-1]
        for name, spec in program.input_specs.items()
        if spec.kind is not InputKind.USER_INPUT
    }


def _producer(node: Node) -> Node:
    source = node.args[0]
    while isinstance(source, Node) and is_getitem(source):
        source = source.args[0]
    return source if isinstance(source, Node) else node


def _box(node: Node, members: list[Node], parameters: Mapping[str, str], touched: Collection[str]) -> Box:
    kind: Kind = "operator"
    if node.op in ("placeholder", "output"):
        kind = "input" if node.op == "placeholder" else "output"
    elif is_symbolic(node):
        kind = "size"
    reads = [_parameter_text(source, parameters) for source in node.all_input_nodes if source.name in parameters]
    title, types = _title(node), _value_text(node)
    codes = " ".join(dict.fromkeys(reason.code for reason in reasons_of(node)))
    precision = f"in {name}" if (name := annotations_of(node).get("precision")) else ""
    lines = [line for line in (title, types, precision, ", ".join(reads), codes) if line]
    judged = (member for member in members if member.op not in ("placeholder", "output"))
    verdicts = dict(Counter(str(verdict_of(member) or "") for member in judged))
    return Box(
        id=node.name,
        lines=tuple(_shortened(line) for line in lines),
        kind=kind,
        verdicts=verdicts,
        module="" if kind in ("input", "output") else module_of(node),
        signature="|".join((_operator(node), types, precision, *reads, codes, *_literals(node))),
        touched=any(member.name in touched for member in members),
        nodes=tuple(member.name for member in members),
        segment=segment_of(node),
        url=f"#node={node.name}",
    )


def _operator(node: Node) -> str:
    return op_name(node.target) if node.op == "call_function" else node.op


def _title(node: Node) -> str:
    """The node's name, with the operator where the name does not say it."""
    if node.op == "placeholder":
        return node.name
    if node.op == "output":
        return "output"
    name = op_name(node.target).split(".")
    operator = name[1] if len(name) > 1 else name[0]
    stem = re.sub(r"(_default)?(_\d+)*$", "", node.name).strip("_")
    return node.name if stem == operator.strip("_") else f"{node.name} = {operator}"


def _value_text(node: Node) -> str:
    value = node.meta.get("val")
    if node.op == "output" or value is None:
        return ""
    if isinstance(value, torch.SymInt | int) and not isinstance(value, bool):
        return f"= {value}"
    return type_text(value)


def _parameter_text(node: Node, parameters: Mapping[str, str]) -> str:
    value = node.meta.get("val")
    shape = f" [{','.join(str(size) for size in value.shape)}]" if isinstance(value, torch.Tensor) else ""
    return f"{parameters[node.name]}{shape}"


def _literals(node: Node) -> Iterable[str]:
    """Arguments that are not nodes: two repeated blocks are only drawn once if these agree too."""
    values = [*node.args, *node.kwargs.values()]
    return (re.sub(r"%\w+", "%", argument_text(value)) for value in values) if node.op == "call_function" else ()


def tooltip_of(node: Node) -> str:
    """What hovering over a node shows: its line of text IR, module, source line, and the reasons for its verdict."""
    lines = [node_text(node), *(text for text in (module_of(node), source_of(node)) if text)]
    verdict, segment = verdict_of(node), segment_of(node)
    if verdict is not None:
        lines.append(f"{verdict}{f' in {segment}' if segment else ''}")
    known = annotations_of(node)
    lines += [f"computes in {known['precision']}"] if "precision" in known else []
    lines += [f"not in 8 bits, since {known['floats']}"] if "floats" in known else []
    lines += [f"{reason.code}: {reason.message}" for reason in reasons_of(node)]
    text = "\n".join(lines)
    return text if len(text) <= _MAX_TOOLTIP else f"{text[: _MAX_TOOLTIP - 1]}…"


def _edge_tooltip(node: Node) -> str:
    return f"{node.name}: {type_text(node.meta.get('val'))}"


def _shortened(line: str) -> str:
    return line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 1]}…"


def _cut_out(picture: Picture, nodes: Mapping[str, Node], segment: Segment) -> Picture:
    """The part of a program's picture that one segment covers, with boxes for what crosses its border."""
    inside = set(segment.nodes)
    owner = {name: box.id for box in picture.boxes for name in box.nodes}
    boxes = [box for box in picture.boxes if inside.intersection(box.nodes)]
    kept = {box.id for box in boxes}
    entering = [_border_box(nodes[name], "input") for name in segment.inputs]
    leaving = [_border_box(nodes[name], "output") for name in segment.outputs]
    sources = {owner.get(name, name): f"in_{name}" for name in segment.inputs}
    edges = [edge for edge in picture.edges if edge.source in kept and edge.target in kept]
    for edge in picture.edges:
        if edge.target in kept and edge.source not in kept and edge.source in sources:
            edges.append(Edge(sources[edge.source], edge.target, tooltip=edge.tooltip, is_size=edge.is_size))
    edges += [Edge(owner[name], f"out_{name}") for name in segment.outputs if owner.get(name) in kept]
    return Picture(segment.name, (*entering, *boxes, *leaving), tuple(edges))


def _border_box(node: Node, kind: Kind) -> Box:
    prefix = "in" if kind == "input" else "out"
    lines = (node.name, type_text(node.meta.get("val")))
    return Box(f"{prefix}_{node.name}", lines, kind, nodes=(node.name,), url=f"#node={node.name}")
