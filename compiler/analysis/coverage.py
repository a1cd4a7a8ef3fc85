"""Coverage by module: how much of each of the user's modules went to TensorRT."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..ledger import LedgerRow, Verdict


@dataclass(frozen=True)
class ModuleCoverage:
    """A module with all that it contains.

    Attributes:
        path: dotted, "" for the model itself.
        ops: op nodes of the module and of those in it.
        trt: how many of them are in TensorRT.
        children: the modules in it, in the order in which they first compute something. A container that computes
            nothing itself, such as a ModuleList, is a module too.
    """

    path: str
    ops: int
    trt: int
    children: tuple[ModuleCoverage, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def share(self) -> float:
        """Share of op nodes in TensorRT, 0 to 1 (1 for a model without op nodes)."""
        return self.trt / self.ops if self.ops else 1.0

    @property
    def share_text(self) -> str:
        """The share as "87.5 %"; "100 %" and "0 %" only where that is exact."""
        if self.trt in (0, self.ops):
            return "100 %" if self.trt == self.ops else "0 %"
        return f"{min(max(100 * self.share, 0.1), 99.9):.1f} %"

    def walk(self) -> Iterator[ModuleCoverage]:
        """This module and all in it, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order, nested, with the share."""
        return {
            "path": self.path,
            "ops": self.ops,
            "trt": self.trt,
            "share": self.share,
            "children": [child.to_json() for child in self.children],
        }

    def to_csv(self) -> str:
        """A header and a row per module: path, depth (0 is the model), op nodes, those in TensorRT, percent of them."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("module", "depth", "ops", "trt", "percent"))
        for item in self.walk():
            depth = item.path.count(".") + 1 if item.path else 0
            writer.writerow((item.path, depth, item.ops, item.trt, f"{100 * item.share:.1f}"))
        return text.getvalue()

    def __str__(self) -> str:
        """An indented line per module: "layers.0  7 of 8 op nodes, 87.5 %"."""
        return "\n".join(self._lines(0))

    def _lines(self, depth: int) -> Iterator[str]:
        yield f"{'  ' * depth}{self.name or '(model)'}  {self.trt} of {self.ops} op nodes, {self.share_text}"
        for child in self.children:
            yield from child._lines(depth + 1)


@dataclass
class _Count:
    ops: int = 0
    trt: int = 0


def module_coverage(rows: Iterable[LedgerRow]) -> ModuleCoverage:
    """The tree of the user's modules, from a ledger (of a program, or read from a dump)."""
    counts: dict[str, _Count] = {"": _Count()}
    children: dict[str, list[str]] = {"": []}
    for row in rows:
        _grow(row.module, counts, children)
        for ancestor in _with_ancestors(row.module):
            counts[ancestor].ops += 1
            counts[ancestor].trt += row.verdict is Verdict.TRT
    return _tree("", counts, children)


def _grow(path: str, counts: dict[str, _Count], children: dict[str, list[str]]) -> None:
    for ancestor in reversed([*_with_ancestors(path)]):
        if ancestor not in counts:
            counts[ancestor], children[ancestor] = _Count(), []
            children[ancestor.rpartition(".")[0]].append(ancestor)


def _with_ancestors(path: str) -> Iterator[str]:
    """The path, its parents from the inside out, and the model itself."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _tree(path: str, counts: dict[str, _Count], children: dict[str, list[str]]) -> ModuleCoverage:
    count = counts[path]
    below = tuple(_tree(child, counts, children) for child in children[path])
    return ModuleCoverage(path, count.ops, count.trt, below)
