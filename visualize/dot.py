"""Picture to DOT: fill is the verdict, frames are modules; plain enough that it reads as text and diffs well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import graphviz

from .palette import BORDER_VALUE, EDGE, FONT, FRAME, FRAME_FILL, INK, MUTED, PAPER, SIZE_EDGE, style_of, worst
from .picture import Box, Edge, Picture

LARGE = 250
"""Boxes above which Graphviz is told to take fewer steps towards the prettiest layout."""


def to_dot(picture: Picture) -> str:
    """The picture as DOT text; the same picture gives the same bytes."""
    graph = graphviz.Digraph(picture.title or "picture", comment=None)
    graph.attr("graph", **_graph_attributes(picture))
    graph.attr("node", shape="box", fontname=FONT, fontsize="11", fontcolor=INK, margin="0.11,0.055", height="0.3")
    graph.attr("edge", fontname=FONT, fontsize="9.5", fontcolor=MUTED, color=EDGE, arrowsize="0.6")
    _Frames(picture).draw(graph)
    for edge in picture.edges:
        graph.edge(_quoted(edge.source), _quoted(edge.target), **_edge_attributes(edge))
    return str(graph.source)


def _graph_attributes(picture: Picture) -> dict[str, str]:
    large = {"nslimit": "2", "nslimit1": "2", "mclimit": "0.5"} if len(picture.boxes) > LARGE else {}
    return {
        "label": legend(picture),
        "labelloc": "t",
        "labeljust": "l",
        "fontname": FONT,
        "fontcolor": INK,
        "fontsize": "11",
        "bgcolor": PAPER,
        "rankdir": picture.direction,
        "nodesep": "0.22",
        "ranksep": "0.3",
        "tooltip": " ",
        **large,
    }


def legend(picture: Picture) -> str:
    """The title, remarks, and one cell per verdict with its count, as a Graphviz table."""
    cells = [_legend_cell(picture, *item) for item in sorted(picture.counts.items(), key=_legend_order)]
    touched = sum(box.ops for box in picture.boxes if box.touched)
    if touched:
        cells.append(f'<TD COLOR="{INK}" BORDER="3">changed by this pass {touched:,}</TD>')
    span = len(cells) + 1
    rows = [_text_row(picture.title, span, 14, INK), *(_text_row(text, span, 10, MUTED) for text in picture.remarks)]
    if cells:
        # The last cell takes the width that a long remark leaves over, so that the others stay as wide as their text.
        rows.append(f"<TR>{''.join(cells)}<TD></TD></TR>")
    return f'<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="4" CELLPADDING="4">{"".join(rows)}</TABLE>>'


def _legend_order(item: tuple[str, int]) -> tuple[bool, int, str]:
    return item[0] != "trt", -item[1], item[0]


def _legend_cell(picture: Picture, verdict: str, count: int) -> str:
    style = style_of(verdict or None)
    text = f"{verdict} {count:,}" if verdict else f"{count:,} {picture.unit}{'s' if count > 1 else ''}"
    line = "" if style.line == "solid" else f' STYLE="{style.line}"'
    return f'<TD BGCOLOR="{style.fill}" COLOR="{style.border}" BORDER="{2 if style.double else 1}"{line}>{text}</TD>'


def _text_row(text: str, span: int, size: int, color: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        f'<TR><TD ALIGN="LEFT" CELLPADDING="1" COLSPAN="{span}">'
        f'<FONT POINT-SIZE="{size}" COLOR="{color}">{escaped or " "}</FONT></TD></TR>'
    )


# --- boxes ---------------------------------------------------------------------------------------------------------
def _box_attributes(box: Box) -> dict[str, str]:
    attributes = {
        "label": graphviz.escape("\n".join(box.lines)).replace("\n", "\\n"),
        "id": f"box-{slug(box.id)}",
        "class": " ".join(_classes(box)),
        "tooltip": _tooltip(box.tooltip or box.lines[0]),
        **_paint(box),
    }
    if box.url:
        attributes |= {"URL": box.url, "target": "_top"}
    if box.touched:
        attributes["penwidth"] = "3"
    return attributes


def _classes(box: Box) -> Iterable[str]:
    yield box.kind
    yield from (f"verdict-{verdict}" for verdict in sorted(box.verdicts) if verdict)
    if box.segment:
        yield box.segment
    if box.touched:
        yield "touched"


def _paint(box: Box) -> dict[str, str]:
    if box.kind in ("input", "output"):
        style = BORDER_VALUE
        return {"style": "rounded,filled", "shape": "box", "fillcolor": style.fill, "color": style.border}
    verdict = worst(box.verdicts)
    style = style_of(verdict)
    paint = {"fillcolor": style.fill, "color": style.border, "style": f"rounded,filled,{style.line}", "penwidth": "1.3"}
    shares = _shares(box.verdicts)
    if len(shares) > 1:
        paint |= {"fillcolor": ":".join(f"{style_of(name or None).fill};{share:.3f}" for name, share in shares)}
        paint["style"] = f"striped,{style.line}"
    if box.kind == "size":
        paint |= {"fontcolor": MUTED, "color": SIZE_EDGE, "fontsize": "9", "height": "0.2", "penwidth": "0.8"}
    if box.fill:
        paint |= {"fillcolor": box.fill, "style": f"rounded,filled,{style.line}"}
    if style.line == "dotted":
        paint["penwidth"] = "2"
    if style.double:
        paint["peripheries"] = "2"
    return paint


def _shares(verdicts: Mapping[str, int]) -> list[tuple[str, float]]:
    """The share of every verdict, `trt` first; small ones are widened so that none is invisible."""
    total = sum(verdicts.values())
    if not total:
        return []
    ordered = sorted(verdicts.items(), key=lambda item: (item[0] != "trt", -item[1], item[0]))
    widths = [max(count / total, 0.06) for _, count in ordered]
    return [(name, width / sum(widths)) for (name, _), width in zip(ordered, widths, strict=True)]


def _tooltip(text: str) -> str:
    return str(graphviz.escape(text)).replace("\n", "\\n")


def _quoted(name: str) -> str:
    """A node name that Graphviz does not take for a name with a port."""
    return name.replace(":", "/")


def slug(text: str) -> str:
    """Text as a word for ids and classes: letters, digits, dash and underscore."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "unnamed"


def _edge_attributes(edge: Edge) -> dict[str, str]:
    attributes = {"id": f"edge-{slug(edge.source)}--{slug(edge.target)}"}
    if edge.tooltip:
        attributes["tooltip"] = attributes["labeltooltip"] = _tooltip(edge.tooltip)
    if edge.label:
        attributes["label"] = graphviz.escape(f" {edge.label}").replace("\n", "\\n")
    if edge.is_size:
        attributes |= {"style": "dotted", "color": SIZE_EDGE, "arrowsize": "0.4", "class": "size"}
    elif edge.nbytes is not None:
        # Heavy edges are kept short and straight, so that the eye follows the data, not a mask that everything reads.
        attributes["weight"] = str(max(1, edge.nbytes.bit_length() - 9))
        if edge.nbytes >= 1 << 20:
            attributes["penwidth"] = "2.2"
    return attributes


# --- frames --------------------------------------------------------------------------------------------------------
@dataclass
class _Frame:
    path: str = ""
    boxes: list[Box] = field(default_factory=list)
    children: dict[str, _Frame] = field(default_factory=dict)

    def add(self, box: Box) -> None:
        frame, words = self, box.module.split(".") if box.module else []
        for index, word in enumerate(words):
            frame = frame.children.setdefault(word, _Frame(".".join(words[: index + 1])))
        frame.boxes.append(box)

    @property
    def size(self) -> int:
        return len(self.boxes) + sum(child.size for child in self.children.values())


class _Frames:
    """The tree of frames that a picture's boxes stand in."""

    def __init__(self, picture: Picture) -> None:
        self.labels = picture.frames
        self.root = _Frame()
        for box in picture.boxes:
            self.root.add(box)

    def draw(self, graph: graphviz.Digraph) -> None:
        self._fill(graph, self.root, "")

    def _fill(self, graph: graphviz.Digraph, frame: _Frame, outer: str) -> None:
        for box in frame.boxes:
            graph.node(_quoted(box.id), **_box_attributes(box))
        for child in frame.children.values():
            self._draw(graph, child, outer)

    def _draw(self, graph: graphviz.Digraph, frame: _Frame, outer: str) -> None:
        """Draw a frame, unless it would hold one box only, or nothing but one other frame."""
        only_one_frame = not frame.boxes and len(frame.children) == 1 and frame.path not in self.labels
        if frame.size < 2 or only_one_frame:
            self._fill(graph, frame, outer)
            return
        label = self.labels.get(frame.path, frame.path)
        short = label.removeprefix(f"{outer}.") if outer else label
        with graph.subgraph(name=f"cluster_{slug(frame.path)}") as cluster:
            cluster.attr(
                label=graphviz.escape(short),
                labeljust="l",
                style="rounded,filled",
                color=FRAME,
                fillcolor=FRAME_FILL,
                fontcolor=MUTED,
                fontsize="10.5",
                margin="9",
                id=f"frame-{slug(frame.path)}",
                tooltip=_tooltip(label),
            )
            cluster.attr("graph", **{"class": "module"})
            self._fill(cluster, frame, frame.path)
