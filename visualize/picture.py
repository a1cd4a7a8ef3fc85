"""The data of a picture before it is drawn: boxes, edges, frames. Everything that collapses or draws works on these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["operator", "size", "module", "segment", "island", "input", "output", "layer", "run"]


@dataclass(frozen=True)
class Box:
    """One box.

    `lines` is its label; `verdicts` counts its op nodes by verdict, "" for those that have none; `module` is the dotted
    path of the frame that it stands in; `signature` is equal for boxes that do the same in repeated blocks; `times`
    says how many blocks it stands for; `nodes` are the fx nodes in it (of the first block). `fill` is a colour in place
    of that of the verdicts.
    """

    id: str
    lines: tuple[str, ...]
    kind: Kind = "operator"
    verdicts: Mapping[str, int] = field(default_factory=dict)
    module: str = ""
    signature: str = ""
    times: int = 1
    touched: bool = False
    nodes: tuple[str, ...] = ()
    segment: str | None = None
    tooltip: str = ""
    url: str = ""
    fill: str = ""

    @property
    def ops(self) -> int:
        """How many op nodes of the program the box stands for."""
        return sum(self.verdicts.values()) * self.times


@dataclass(frozen=True)
class Edge:
    """An arrow between two boxes by id; a size edge carries a SymInt, not a tensor. `nbytes` is None if unknown."""

    source: str
    target: str
    label: str = ""
    nbytes: int | None = None
    is_size: bool = False
    tooltip: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture: title, boxes in graph order, edges, labels of frames by module path, and remarks under the title.

    `unit` is what boxes without a verdict count: op nodes of a program, or layers of a network.
    """

    title: str
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    frames: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    direction: Literal["TB", "LR"] = "TB"
    unit: str = "op node"

    @property
    def counts(self) -> dict[str, int]:
        """Op nodes of the program by verdict ("" for none), repeated and collapsed ones included."""
        total: Counter[str] = Counter()
        for box in self.boxes:
            for verdict, count in box.verdicts.items():
                total[verdict] += count * box.times
        return dict(total)


def merged_edges(edges: Iterable[Edge], owner: Mapping[str, str]) -> tuple[Edge, ...]:
    """Edges between the boxes that now own the old ones: without loops, one per pair, in the old order.

    A pair keeps its label only where it stood for one edge.
    """
    found: dict[tuple[str, str], Edge] = {}
    for edge in edges:
        pair = owner.get(edge.source, edge.source), owner.get(edge.target, edge.target)
        if pair[0] == pair[1]:
            continue
        known = found.get(pair)
        if known is None:
            found[pair] = Edge(*pair, edge.label, edge.nbytes, edge.is_size, edge.tooltip)
        else:
            tooltip = "\n".join(dict.fromkeys(text for text in (known.tooltip, edge.tooltip) if text))
            found[pair] = Edge(*pair, "", None, known.is_size and edge.is_size, tooltip)
    return tuple(found.values())


def total_verdicts(boxes: Iterable[Box]) -> dict[str, int]:
    """Op nodes by verdict over boxes, each counted as often as it is repeated."""
    return Picture("", tuple(boxes), ()).counts
