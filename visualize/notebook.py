"""How programs, reports, compiled modules and segments show themselves in Jupyter: as SVG, and as text."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch.fx import GraphModule

from ..compiler.errors import UserError, did_you_mean
from ..compiler.ir.dtypes import short_name
from ..compiler.ir.engine_spec import EngineSpec
from ..compiler.ir.program import Program, Segment
from ..compiler.report.report import Report
from ..compiler.report.table import Table
from .collapse import collapsed
from .dot import to_dot
from .network import network_picture
from .operators import SEGMENT_LIMIT, graph_picture, program_picture, segment_picture
from .overview import overview_picture
from .picture import Box, Edge, Picture
from .render import render
from .table import to_html
from .text import counts_text
from .why import why_text


class Engine(Protocol):
    """An engine of a compiled module."""

    @property
    def spec(self) -> EngineSpec:
        """What it expects and returns."""


def mimebundle(program: Program, title: str = "program") -> dict[str, str]:
    """The content of `_repr_mimebundle_`: "text/plain" always, "image/svg+xml" when something can render it."""
    return _bundle(overview_picture(program, title), summary_text(program, title))


def program_bundle(program: Program) -> dict[str, str]:
    """The same for a program: its overview."""
    return mimebundle(program)


def report_bundle(report: Report) -> dict[str, str]:
    """The same for a report: the overview of its program."""
    return mimebundle(report.program, "report")


def table_bundle(table: Table) -> dict[str, str]:
    """The same for a table, in HTML."""
    return {"text/plain": str(table), "text/html": to_html(table)}


def module_bundle(module: GraphModule) -> dict[str, str]:
    """The same for a compiled module: the overview of the run that made it, else its own graph."""
    report = vars(module).get("report")
    if isinstance(report, Report) and report.segments:
        return mimebundle(report.program, "compiled module")
    picture = collapsed(graph_picture(module.graph, title="compiled module"), SEGMENT_LIMIT, SEGMENT_LIMIT)
    return _bundle(picture, f"compiled module: {len(module.graph.nodes):,} nodes")


def segment_bundle(segment: Segment) -> dict[str, str]:
    """The same for a segment: its TensorRT network once it has one, else what goes in and out."""
    count = len(segment.nodes)
    words = f"{segment.name}: {count:,} op node{'' if count == 1 else 's'}"
    text = f"{words}\n  in  {_named(segment.inputs)}\n  out {_named(segment.outputs)}"
    if segment.network is not None:
        return _bundle(network_picture(segment.network, title=segment.name), text)
    return _bundle(ports_picture(words, segment.name, segment.inputs, segment.outputs), text)


def engine_bundle(engine: Engine) -> dict[str, str]:
    """The same for an engine of a compiled module, of which only the tensors at its border are known."""
    entering, leaving = (
        [f"{item.name} {short_name(item.dtype)}{list(item.shape)}" for item in side]
        for side in (engine.spec.inputs, engine.spec.outputs)
    )
    return _bundle(ports_picture(repr(engine), engine.spec.name, entering, leaving), repr(engine))


def ports_picture(title: str, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> Picture:
    """An engine as one box, with the tensors that enter and leave it; `title` stands above."""
    entering = tuple(Box(f"in:{text}", (text,), "input") for text in inputs)
    leaving = tuple(Box(f"out:{text}", (text,), "output") for text in outputs)
    engine = Box(name, (name, "TensorRT"), "segment", {"trt": 1}, segment=name)
    edges = [*(Edge(box.id, name) for box in entering), *(Edge(name, box.id) for box in leaving)]
    return Picture(title, (*entering, engine, *leaving), tuple(edges), unit="engine")


def _named(names: Sequence[str]) -> str:
    return ", ".join(f"%{name}" for name in names) or "none"


def _bundle(picture: Picture, text: str) -> dict[str, str]:
    bundle = {"text/plain": text}
    svg = render(to_dot(picture))
    if svg is not None:
        bundle["image/svg+xml"] = svg
    return bundle


def summary_text(program: Program, title: str = "program") -> str:
    """A few lines on a program: op nodes, verdicts and segments."""
    ledger = program.ledger
    lines = [f"{title}: {len(program.op_nodes):,} op nodes"]
    if len(ledger):
        lines.append(f"  {ledger.coverage:.1%} in TensorRT: {counts_text(ledger.counts)}")
    lines += [f"  {segment.name}: {len(segment.nodes):,} op nodes" for segment in program.segments]
    return "\n".join(lines)


# --- show ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class View:
    """Something to look at: its text, and what a notebook shows of it."""

    text: str
    bundle: dict[str, str]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.bundle

    def __str__(self) -> str:
        return self.text


def show(report: Report, what: str = "overview") -> None:
    """Display a part of a report in a notebook; print it elsewhere. See `Report.show`."""
    view = view_of(report, what)
    if in_notebook():
        importlib.import_module("IPython.display").display(view)
    else:
        print(view)


def view_of(report: Report, what: str) -> View:
    """The part of a report that `show` shows under this name; UserError if there is none."""
    program = report.program
    if what == "overview":
        text = f"{summary_text(program, 'report')}\n{report.boundary.total}"
        return View(text, _bundle(overview_picture(program), text))
    if what == "graph":
        text = summary_text(program, "graph")
        return View(text, _bundle(program_picture(program), text))
    if what == "table":
        table = report.table()
        return View(str(table), table_bundle(table))
    texts: dict[str, Callable[[], object]] = {
        "why": lambda: why_text(program),
        "boundary": lambda: report.boundary,
        "modules": lambda: report.modules,
    }
    if what in texts:
        text = str(texts[what]()).rstrip("\n")
        return View(text, {"text/plain": text})
    for segment in program.segments:
        if segment.name == what:
            text = segment_bundle(segment)["text/plain"]
            return View(text, _bundle(segment_picture(program, segment), text))
    known = ["overview", "graph", "table", *texts, *(segment.name for segment in program.segments)]
    raise UserError(f"a report has no {what!r} to show.{did_you_mean(what, known)}")


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel, which can display more than text."""
    ipython = sys.modules.get("IPython")
    shell: object = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
