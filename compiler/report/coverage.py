"""Coverage by module: how much of each of the user's modules went to TensorRT."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..ir.ledger import LedgerRow, Verdict


@dataclass(frozen=True)
class ModuleCoverage:
    """A module with all that it contains.

    Attributes:
        path: dotted, "" for the model itself.
        ops: op nodes of the module and of those in it.
        trt: how many of them are in TensorRT.
        children: the modules in it, in the order in which they first compute something. A container that computes
            nothing itself, such as a ModuleList, is a module too.
        error: the largest relative L2 error measured at one of its nodes; None where none was.
        seconds: what its nodes take together; None where that was not measured.
    """

    path: str
    ops: int
    trt: int
    children: tuple[ModuleCoverage, ...] = ()
    error: float | None = None
    seconds: float | None = None

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

    @property
    def own_fallbacks(self) -> int:
        """Op nodes outside TensorRT that belong to the module itself, to none of the modules in it."""
        return (self.ops - self.trt) - sum(child.ops - child.trt for child in self.children)

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
            "error": self.error,
            "seconds": self.seconds,
            "children": [child.to_json() for child in self.children],
        }

    def to_csv(self) -> str:
        """A header and a row per module, each before its children.

        Columns: module (its path), depth (0 is the model), ops, trt (those in TensorRT), percent, error and seconds
        ("" where not known).
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for item in self.walk():
            depth = item.path.count(".") + 1 if item.path else 0
            measured = ("" if value is None else f"{value:.3g}" for value in (item.error, item.seconds))
            writer.writerow((item.path, depth, item.ops, item.trt, f"{100 * item.share:.1f}", *measured))
        return text.getvalue()

    def __repr__(self) -> str:
        return f"ModuleCoverage({self.path or '(model)'}: {self.trt} of {self.ops} op nodes, {self.share_text})"

    def __str__(self) -> str:
        """An indented line per module: "layers.0  7 of 8 op nodes, 87.5 %, error 1.2e-04"."""
        return "\n".join(self._lines(0))

    def _lines(self, depth: int) -> Iterator[str]:
        words = [f"{self.trt} of {self.ops} op nodes", self.share_text]
        words += [f"error {self.error:.1e}"] if self.error is not None else []
        words += [f"{1e3 * self.seconds:.3g} ms"] if self.seconds is not None else []
        yield f"{'  ' * depth}{self.name or '(model)'}  {', '.join(words)}"
        for child in self.children:
            yield from child._lines(depth + 1)


_COLUMNS = ("module", "depth", "ops", "trt", "percent", "error", "seconds")


@dataclass
class _Count:
    ops: int = 0
    trt: int = 0
    errors: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def module_coverage(
    rows: Iterable[LedgerRow],
    errors: Mapping[str, float] = MappingProxyType({}),
    seconds: Mapping[str, float] = MappingProxyType({}),
) -> ModuleCoverage:
    """The tree of the user's modules.

    Args:
        rows: a ledger, of a program or read from a dump.
        errors: relative L2 errors by node, as far as they were measured (`Numerics.node_errors`).
        seconds: seconds by node, as far as they were measured.
    """
    counts: dict[str, _Count] = {"": _Count()}
    children: dict[str, list[str]] = {"": []}
    for row in rows:
        _grow(row.module, counts, children)
        for ancestor in _with_ancestors(row.module):
            count = counts[ancestor]
            count.ops += 1
            count.trt += row.verdict is Verdict.TRT
            if row.node in errors:
                count.errors.append(errors[row.node])
            if row.node in seconds:
                count.seconds.append(seconds[row.node])
    return _tree("", counts, children)


def from_csv(text: str) -> ModuleCoverage:
    """The tree that `to_csv` wrote, with its rounding.

    Raises:
        ValueError: the text is something else.
    """
    counts: dict[str, _Count] = {"": _Count()}
    children: dict[str, list[str]] = {"": []}
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise ValueError(f"the columns are {reader.fieldnames}, not {list(_COLUMNS)}")
    for row in reader:
        _grow(row["module"], counts, children)
        measured = ([float(row[name])] if row[name] else [] for name in ("error", "seconds"))
        counts[row["module"]] = _Count(int(row["ops"]), int(row["trt"]), *measured)
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
    seconds = sum(count.seconds) if count.seconds else None
    return ModuleCoverage(path, count.ops, count.trt, below, max(count.errors, default=None), seconds)
