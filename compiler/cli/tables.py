"""The tables that `trt-passes run` ends with."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import click
from rich.console import Console
from rich.text import Text

from ..analysis.gains import smaller_block_gains
from ..analysis.tensor_bytes import bytes_text
from ..instruments.numerics import Divergence, node_errors
from ..ir.ledger import Ledger, LedgerRow, Verdict
from ..ir.quantisation import Quantisation, QuantisedLayer
from ..report.coverage import module_coverage
from ..report.report import Report
from ..report.script_report import ScriptReport
from .columns import Cell, table_lines

WIDTH = 120
"""Columns when the output is not a terminal."""

STYLES = {
    Verdict.TRT: "green",
    Verdict.UNSUPPORTED: "red",
    Verdict.REJECTED: "magenta",
    Verdict.DEMOTED: "yellow",
    Verdict.EXCLUDED: "bright_black",
    Verdict.FAILED: "bold red",
}


@dataclass(frozen=True)
class Fallback:
    """Op nodes that stayed in PyTorch for the same reason on the same line of the model."""

    source: str
    op: str
    verdict: Verdict
    code: str
    message: str
    count: int


def fallbacks(ledger: Ledger) -> list[Fallback]:
    """What stayed in PyTorch, most nodes first, `demoted` nodes (which follow others) last.

    Nodes are grouped by line, operator and first reason.
    """
    counts: Counter[tuple[str, str, Verdict, str]] = Counter()
    messages: dict[tuple[str, str, Verdict, str], str] = {}
    for row in ledger:
        if row.verdict is not Verdict.TRT:
            key = _key(row)
            counts[key] += 1
            messages.setdefault(key, row.reasons[0].message if row.reasons else "")
    groups = [Fallback(*key, messages[key], count) for key, count in counts.most_common()]
    return sorted(groups, key=lambda group: group.verdict is Verdict.DEMOTED)


def _key(row: LedgerRow) -> tuple[str, str, Verdict, str]:
    return (row.source or row.module or row.node, row.op, row.verdict, row.reasons[0].code if row.reasons else "")


Rows = Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Titled:
    """A table of the report: its title, columns (see `Column.parse`) and rows."""

    title: str
    columns: tuple[str, ...]
    rows: Rows


def print_report(report: Report | ScriptReport, divergences: Sequence[Divergence] = (), top: int = 8) -> None:
    """Print passes, verdicts, segments, numeric checks, the `top` largest groups of fallbacks, and notes to stdout."""
    print_tables(_tables(report, divergences, top), (f"note: {note}" for note in (*report.notes, *_hints(report))))


def print_tables(tables: Iterable[Titled], sentences: Iterable[str] = ()) -> None:
    """Print tables, then sentences, to stdout: as wide as the terminal, or as COLUMNS says."""
    width = shutil.get_terminal_size((WIDTH, 50)).columns
    console = Console(file=sys.stdout, width=10_000, highlight=False, soft_wrap=True)
    with console.capture() as captured:
        for table in tables:
            for line in textwrap.wrap(table.title, width, break_long_words=False, break_on_hyphens=False):
                console.print(Text(line, style="bold"))
            console.print()
            for text in table_lines(table.columns, table.rows, width):
                console.print(text)
            console.print()
        for sentence in sentences:
            for line in textwrap.wrap(sentence, width, break_long_words=False, break_on_hyphens=False):
                console.print(Text(line))
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _tables(report: Report | ScriptReport, divergences: Sequence[Divergence], top: int) -> Iterator[Titled]:
    yield Titled(_time_text(report), ("pass", "seconds>", "changed~"), _pass_rows(report))
    total, segments = len(report.ledger), report.segments
    if total:
        title = f"{total} op nodes, {share_text(report.verdicts['trt'], total)} to TensorRT"
        yield Titled(title, ("verdict", "op nodes>", "share>"), _verdict_rows(report))
    if segments:
        count = "1 segment" if len(segments) == 1 else f"{len(segments)} segments"
        columns = ("segment", "op nodes>", "engine>", "build s>", "bytes in>", "bytes out>", "inputs~", "outputs~")
        yield Titled(f"{count}; {report.boundary.total}", columns, _segment_rows(report))
    if segments and any(item.path and item.own_fallbacks for item in report.modules.walk()):
        yield _modules_table(report, divergences, top)
    if isinstance(report, Report) and report.quantisation is not None:
        yield quantised_table(report.quantisation, top)
    if divergences:
        title = "largest error after each pass that changed the graph or made networks"
        yield Titled(title, ("pass", "output", "relative L2>", "largest difference>"), _numerics_rows(divergences))
    groups = fallbacks(report.ledger)
    if groups:
        staying = total - report.verdicts["trt"]
        title = "1 op node stays in PyTorch" if staying == 1 else f"{staying} op nodes stay in PyTorch"
        yield Titled(title, ("op nodes>", "operator", "code", "where~", "why~"), _fallback_rows(groups, top))


def quantised_table(found: Quantisation, top: int | None = None) -> Titled:
    """The error of each quantised layer, largest first, and why others were left; the first `top`, or all."""
    layers = found.worst_first
    rows = [(layer.name, layer.kind, layer.error_text, _left_text(layer)) for layer in layers[:top]]
    if top is not None and len(layers) > top:
        rows.append((f"and {len(layers) - top} more: `trt-passes explain DIR --quantised` has all", "", "", ""))
    return Titled(found.summary, ("layer~", "class", "relative error>", "note~"), rows)


def _left_text(layer: QuantisedLayer) -> str:
    return f"stays as it is, since {layer.reason}" if layer.reason else ""


def _time_text(report: Report | ScriptReport) -> str:
    """All seconds, and what took them: "9.2 s: import 2.9, export 1.1, passes 0.8, dump 4.4"."""
    parts = {**report.spent, "passes": report.pass_seconds}
    order = [name for name in ("import", "load", "export", "passes") if name in parts]
    listed = [*order, *(name for name in parts if name not in order)]
    shown = [f"{name} {parts[name]:.1f}" for name in listed if parts[name] >= 0.05 or name == "passes"]
    return f"{report.seconds:.1f} s: {', '.join(shown)}"


def _hints(report: Report | ScriptReport) -> Iterator[str]:
    """What would get more into TensorRT, if op nodes were left out for being too few for an engine."""
    floor = report.settings.get("min_block_size")
    if not isinstance(report, Report) or report.verdicts["demoted"] == 0:
        return
    program = report.program
    for gain in smaller_block_gains(program, floor):
        if gain.nodes_gained > 0:
            size = gain.change.rpartition(" ")[2]
            yield f"{gain}: --set min_block_size={size}."


def _pass_rows(report: Report | ScriptReport) -> Rows:
    return [(record.name, f"{record.seconds:.2f}", record.done) for record in report.passes]


def _numerics_rows(divergences: Sequence[Divergence]) -> Rows:
    worst: dict[str, Divergence] = {}
    for row in divergences:
        if row.pass_name not in worst or row.relative_l2 > worst[row.pass_name].relative_l2:
            worst[row.pass_name] = row
    return [(row.pass_name, row.output, f"{row.relative_l2:.1e}", f"{row.max_abs:.1e}") for row in worst.values()]


def _verdict_rows(report: Report | ScriptReport) -> Rows:
    total, rows = len(report.ledger), []
    for verdict in Verdict:
        count = report.verdicts[str(verdict)]
        if count or verdict is Verdict.TRT:
            rows.append((Text(str(verdict), style=STYLES[verdict]), str(count), share_text(count, total)))
    return rows


def share_text(count: int, total: int) -> str:
    """A percentage that says 100 % and 0 % only when that is exact."""
    if count in (0, total):
        return "0 %" if count == 0 else "100 %"
    return f"{min(max(100 * count / total, 0.1), 99.9):.1f} %"


def _segment_rows(report: Report | ScriptReport) -> Rows:
    return [
        (
            record.name,
            str(record.ops),
            "-" if record.engine_bytes is None else bytes_text(record.engine_bytes),
            "-" if record.build_seconds is None else f"{record.build_seconds:.2f}",
            bytes_text(boundary.input_bytes),
            bytes_text(boundary.output_bytes),
            _listed(record.inputs),
            _listed(record.outputs),
        )
        for record, boundary in zip(report.segments, report.boundary.engines, strict=True)
    ]


def _modules_table(report: Report | ScriptReport, divergences: Sequence[Divergence], top: int) -> Titled:
    """The innermost modules with a fallback of their own, least covered first."""
    errors = node_errors(divergences)
    modules = [item for item in module_coverage(report.ledger, errors).walk() if item.own_fallbacks]
    modules.sort(key=lambda item: (item.share, -item.ops))
    columns = ("module~", "op nodes>", "in TensorRT>", *(["largest error>"] if errors else []))
    rows: list[Sequence[Cell]] = []
    for item in modules[:top]:
        error = [] if not errors else ["-" if item.error is None else f"{item.error:.1e}"]
        rows.append((item.path or "(the model itself)", str(item.ops), item.share_text, *error))
    if len(modules) > top:
        text = f"and {len(modules) - top} more: `trt-passes explain DIR --modules` has all"
        rows.append((text, "", "", *([""] if errors else [])))
    return Titled("modules that are not all in TensorRT", columns, rows)


def _listed(items: Sequence[str], most: int = 3) -> str:
    more = f", {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def _fallback_rows(groups: Sequence[Fallback], top: int) -> Rows:
    rows: list[Sequence[Cell]] = [
        (str(group.count), group.op, Text(group.code, style=STYLES[group.verdict]), group.source, group.message)
        for group in groups[:top]
    ]
    if len(groups) > top:
        rest = sum(group.count for group in groups[top:])
        rows.append((str(rest), "", "", "", f"in {len(groups) - top} more places: why.txt in a dump folder has all"))
    return rows
