"""The overview: engines and PyTorch islands with counts, and what crosses between them, however large the model is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
from torch.fx import Node

from ..compiler.analysis.boundary import Crossing, boundary_bill
from ..compiler.analysis.islands import islands
from ..compiler.analysis.tensor_bytes import TensorBytes, bytes_text
from ..compiler.ir.annotations import reasons_of, segment_of, verdict_of
from ..compiler.ir.program import Program, is_getitem, is_symbolic
from ..compiler.ir.source import source_of
from ..compiler.ir.text import op_name, type_text
from .collapse import collapsed, fold_runs, with_remark
from .operators import graph_picture, parameter_labels
from .picture import Box, Edge, Picture

LIMIT = 150
_LABELLED = 2


@dataclass(frozen=True)
class Region:
    """A part of a partitioned program: a segment, a PyTorch island, or what is neither (arithmetic on sizes)."""

    name: str
    nodes: tuple[Node, ...]
    is_segment: bool
    is_island: bool


def overview_picture(program: Program, title: str = "overview", limit: int = LIMIT) -> Picture:
    """Segments and PyTorch islands, with the tensors and bytes between them; at most `limit` boxes.

    Before `partition` there are no regions: then it is the program with its modules folded.
    """
    if not program.segments:
        picture = graph_picture(program.graph, parameter_labels(program), (), title)
        return collapsed(picture, min(limit, 40), min(limit, 40))
    parts = regions(program)
    home = {node: part.name for part in parts for node in part.nodes}
    inputs = [_input_box(node) for node in program.user_inputs]
    boxes = [_region_box(program, part) for part in parts]
    output = Box("output", ("output",), "output", nodes=(program.output_node.name,), url="#node=output")
    bill = boundary_bill(program)
    edges = _Edges(program, home, bill.crossings).between()
    picture = Picture(title, (*inputs, *boxes, output), tuple(edges), remarks=(_summary(program, parts), bill.total))
    return picture if len(picture.boxes) <= limit else with_remark(fold_runs(picture, limit))


def _summary(program: Program, parts: Iterable[Region]) -> str:
    parts = list(parts)
    engines, others = sum(part.is_segment for part in parts), sum(part.is_island for part in parts)
    coverage = f"{program.ledger.coverage:.1%} of {len(program.op_nodes):,} op nodes in TensorRT"
    return f"{coverage}: {_count(engines, 'engine')}, {_count(others, 'PyTorch island')}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def regions(program: Program) -> tuple[Region, ...]:
    """The segments and islands of a partitioned program, in an order in which they can run.

    Islands are those of the report. What is in neither is a region where it is connected and has as many borders before
    it, so that regions never depend on each other in a circle.
    """
    nodes_by_name = program.nodes_by_name
    parts = [(item.name, item.nodes, True) for item in program.segments if item.nodes]
    parts += [(item.name, item.nodes, False) for item in islands(program)]
    home = {nodes_by_name[node]: name for name, nodes, _ in parts for node in nodes}
    level = _levels(program, home)
    together: nx.Graph[Node] = nx.Graph()
    for node in program.op_nodes:
        if node in home:
            continue
        together.add_node(node)
        for source in node.all_input_nodes:
            if source in together and level[source] == level[node]:
                together.add_edge(source, node)
    position = {node: index for index, node in enumerate(program.graph.nodes)}
    found = []
    for name, names, is_segment in parts:
        nodes = tuple(nodes_by_name[item] for item in names)
        found.append((level[nodes[0]], position[nodes[0]], Region(name, nodes, is_segment, not is_segment)))
    for members in nx.connected_components(together):
        nodes = tuple(sorted(members, key=position.__getitem__))
        region = Region(f"pytorch:{nodes[0].name}", nodes, is_segment=False, is_island=False)
        found.append((level[nodes[0]], position[nodes[0]], region))
    found.sort(key=lambda item: item[:2])
    return tuple(region for _, _, region in found)


def _levels(program: Program, home: Mapping[Node, str]) -> dict[Node, int]:
    """How many borders lie before a node, at most: every way into or out of a segment is one."""
    graph: nx.DiGraph[object] = nx.DiGraph()
    for node in program.op_nodes:
        here = home.get(node, node)
        graph.add_node(here)
        for source in node.all_input_nodes:
            if source.op == "call_function" and home.get(source, source) != here:
                graph.add_edge(home.get(source, source), here)
    level: dict[object, int] = {}
    for item in nx.topological_sort(graph):
        crossing = isinstance(item, str)
        steps = [level[source] + (crossing or isinstance(source, str)) for source in graph.predecessors(item)]
        level[item] = max(steps, default=0)
    return {node: level[home.get(node, node)] for node in program.op_nodes}


# --- boxes ---------------------------------------------------------------------------------------------------------
def _input_box(node: Node) -> Box:
    lines = (node.name, type_text(node.meta.get("val")))
    return Box(node.name, lines, "input", nodes=(node.name,), tooltip=": ".join(lines), url=f"#node={node.name}")


def _region_box(program: Program, part: Region) -> Box:
    verdicts = Counter(str(verdict_of(node) or "") for node in part.nodes)
    names = tuple(node.name for node in part.nodes)
    return Box(
        id=part.name,
        lines=tuple(_segment_lines(program, part) if part.is_segment else _island_lines(part)),
        kind="segment" if part.is_segment else "island",
        verdicts=dict(verdicts),
        signature=f"{part.name}|" if part.is_segment else f"{op_name(part.nodes[0].target)}|",
        nodes=names,
        segment=part.name if part.is_segment else segment_of(part.nodes[0]),
        tooltip=_region_tooltip(part),
        url=f"#segment={part.name}" if part.is_segment else f"#node={names[0]}",
    )


def _segment_lines(program: Program, part: Region) -> list[str]:
    segment = next(segment for segment in program.segments if segment.name == part.name)
    lines = [part.name, f"TensorRT · {_count(len(part.nodes), 'op')}", _operators(part.nodes)]
    if segment.engine is not None:
        lines.append(f"engine {bytes_text(segment.engine.nbytes)}")
    return lines


def _island_lines(part: Region) -> list[str]:
    lines = [_operators(part.nodes), f"PyTorch · {_count(len(part.nodes), 'op')}"]
    codes = Counter(reason.code for node in part.nodes for reason in reasons_of(node)[:1])
    lines += [" ".join(f"{code}{f' ×{count}' if count > 1 else ''}" for code, count in sorted(codes.items())[:3])]
    sources = list(dict.fromkeys(source for node in part.nodes if (source := source_of(node))))
    if sources:
        more = f" +{len(sources) - 1}" if len(sources) > 1 else ""
        lines.append(f"{'/'.join(sources[0].split('/')[-2:])}{more}")
    return [line for line in lines if line]


def _operators(nodes: Sequence[Node], most: int = 3) -> str:
    computing = [node for node in nodes if not is_getitem(node)] or list(nodes)
    counts = Counter(_operator(node) for node in computing)
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{name} ×{count}" if count > 1 else name for name, count in common[:most]]
    return ", ".join([*words, "…"] if len(common) > most else words)


def _operator(node: Node) -> str:
    """The operator without its overload, and without the namespace that nearly all are in."""
    name = op_name(node.target)
    return name.removeprefix("aten.").split(".")[0] if name.startswith("aten.") else name


def _region_tooltip(part: Region) -> str:
    lines = [f"{part.name}: {_count(len(part.nodes), 'op node')}", _operators(part.nodes, 8)]
    seen = dict.fromkeys(f"{reason.code}: {reason.message}" for node in part.nodes for reason in reasons_of(node))
    return "\n".join([*lines, *list(seen)[:6]])


# --- edges ---------------------------------------------------------------------------------------------------------
class _Edges:
    """One edge per pair of boxes, with the distinct tensors that cross, their bytes, and casts at engines' borders."""

    def __init__(self, program: Program, home: Mapping[Node, str], crossings: Iterable[Crossing]) -> None:
        self.program, self.home, self.sizes = program, home, TensorBytes(program)
        self.casts = {item.name: item.casts for item in crossings if item.casts}
        self.place = {node.name: name for node, name in home.items()}

    def between(self) -> Iterable[Edge]:
        """The edges, in graph order of their targets."""
        crossing: dict[tuple[str, str], dict[Node, None]] = {}
        constants = set(parameter_labels(self.program))
        for node in (*self.program.op_nodes, self.program.output_node):
            target = self.home.get(node, "output")
            for source in node.all_input_nodes:
                origin = self.home.get(source, source.name)
                if origin != target and source.name not in constants:
                    crossing.setdefault((origin, target), {})[source] = None
        for (origin, target), values in crossing.items():
            yield self._edge(origin, target, list(values))

    def _edge(self, origin: str, target: str, values: list[Node]) -> Edge:
        tensors = [node for node in values if not is_symbolic(node)]
        sizes = [self.sizes.of(node) for node in tensors]
        nbytes = None if any(size is None for size in sizes) else sum(size for size in sizes if size is not None)
        types = Counter(type_text(node.meta.get("val")) for node in tensors)
        labels = [f"{count} × {name}" if count > 1 else name for name, count in types.items()]
        if len(labels) > _LABELLED:
            labels = [f"{len(tensors)} tensors"]
        if tensors:
            labels.append("size unknown" if nbytes is None else bytes_text(nbytes))
        labels += self._casts(origin, target, tensors)
        tooltip = "\n".join(f"{node.name}: {type_text(node.meta.get('val'))}" for node in values)
        return Edge(origin, target, "\n".join(labels) or "sizes", nbytes, not tensors, tooltip)

    def _casts(self, origin: str, target: str, tensors: Iterable[Node]) -> Iterable[str]:
        """Casts that make one of the tensors in the box that it leaves, or read it in the box that it enters."""
        casts = (cast for node in tensors for cast in self.casts.get(node.name, ()))
        return dict.fromkeys(
            f"cast {cast.source} → {cast.target}" for cast in casts if self.place.get(cast.node) in (origin, target)
        )
