"""The tables that `trt-passes run` ends with."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..analysis.tensor_bytes import bytes_text
from ..instruments.numerics import Divergence, node_errors
from ..ir.ledger import Ledger, LedgerRow, Verdict
from ..report.coverage import module_coverage
from ..report.report import Report

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


def print_report(report: Report, divergences: Sequence[Divergence] = (), top: int = 8) -> None:
    """Print passes, verdicts, segments, numeric checks, the `top` largest groups of fallbacks, and notes to stdout."""
    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else WIDTH, highlight=False)
    with console.capture() as captured:
        for title, table in _tables(report, divergences, top):
            console.print(Text(title, style="bold"))
            console.print(table)
        for note in report.notes:
            console.print(Text(f"note: {note}"))
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _tables(report: Report, divergences: Sequence[Divergence], top: int) -> Iterator[tuple[str, Table]]:
    yield f"passes, {report.seconds:.1f} s", _passes_table(report)
    total, segments = len(report.ledger), report.segments
    if total:
        yield f"{total} op nodes, {_share(report.verdicts['trt'], total)} to TensorRT", _verdicts_table(report)
    if segments:
        title = "1 segment" if len(segments) == 1 else f"{len(segments)} segments"
        yield f"{title}; {report.boundary.total}", _segments_table(report)
    if segments and any(item.path and item.own_fallbacks for item in report.modules.walk()):
        yield "modules that are not all in TensorRT", _modules_table(report, divergences, top)
    if divergences:
        yield "largest error after each pass that changed the graph or made networks", _numerics_table(divergences)
    groups = fallbacks(report.ledger)
    if groups:
        staying = total - report.verdicts["trt"]
        yield (
            "1 op node stays in PyTorch" if staying == 1 else f"{staying} op nodes stay in PyTorch",
            _fallbacks_table(groups, top),
        )


def _table(*columns: str) -> Table:
    """A table; a column whose name ends in `>` holds numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        name = column.removesuffix(">")
        table.add_column(name, justify="right" if name != column else "left", overflow="fold", no_wrap=name == "code")
    return table


def _passes_table(report: Report) -> Table:
    table = _table("pass", "seconds>", "changed")
    for record in report.passes:
        done = str(record.changes) if record.undone is None else "failed and was undone"
        table.add_row(record.name, f"{record.seconds:.2f}", done)
    return table


def _numerics_table(divergences: Sequence[Divergence]) -> Table:
    table = _table("pass", "output", "relative L2>", "largest difference>")
    worst: dict[str, Divergence] = {}
    for row in divergences:
        if row.pass_name not in worst or row.relative_l2 > worst[row.pass_name].relative_l2:
            worst[row.pass_name] = row
    for row in worst.values():
        table.add_row(row.pass_name, row.output, f"{row.relative_l2:.1e}", f"{row.max_abs:.1e}")
    return table


def _verdicts_table(report: Report) -> Table:
    total = len(report.ledger)
    table = _table("verdict", "op nodes>", "share>")
    for verdict in Verdict:
        count = report.verdicts[str(verdict)]
        if count or verdict is Verdict.TRT:
            table.add_row(Text(str(verdict), style=STYLES[verdict]), str(count), _share(count, total))
    return table


def _share(count: int, total: int) -> str:
    """A percentage that says 100 % and 0 % only when that is exact."""
    if count in (0, total):
        return "0 %" if count == 0 else "100 %"
    return f"{min(max(100 * count / total, 0.1), 99.9):.1f} %"


def _segments_table(report: Report) -> Table:
    table = _table("segment", "op nodes>", "engine>", "seconds>", "inputs", "outputs", "bytes in>", "bytes out>")
    for record, boundary in zip(report.segments, report.boundary.engines, strict=True):
        table.add_row(
            record.name,
            str(record.ops),
            _size(record.engine_bytes),
            "-" if record.build_seconds is None else f"{record.build_seconds:.2f}",
            Text(_listed(record.inputs)),
            Text(_listed(record.outputs)),
            bytes_text(boundary.input_bytes),
            bytes_text(boundary.output_bytes),
        )
    return table


def _modules_table(report: Report, divergences: Sequence[Divergence], top: int) -> Table:
    """The innermost modules with a fallback of their own, least covered first."""
    errors = node_errors(divergences)
    modules = [item for item in module_coverage(report.ledger, errors).walk() if item.own_fallbacks]
    modules.sort(key=lambda item: (item.share, -item.ops))
    table = _table("module", "op nodes>", "in TensorRT>", *(["largest error>"] if errors else []))
    for item in modules[:top]:
        error = [] if not errors else ["-" if item.error is None else f"{item.error:.1e}"]
        table.add_row(item.path or "(the model itself)", str(item.ops), item.share_text, *error)
    if len(modules) > top:
        table.add_row(f"and {len(modules) - top} more: `trt-passes explain DIR --modules` has all", "", "")
    return table


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / 1e6:.1f} MB" if count >= 10**6 else f"{count / 1e3:.1f} kB"


def _listed(items: Sequence[str], most: int = 3) -> str:
    more = f", {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def _fallbacks_table(groups: Sequence[Fallback], top: int) -> Table:
    table = _table("op nodes>", "operator", "where", "code", "why")
    for group in groups[:top]:
        style = STYLES[group.verdict]
        table.add_row(str(group.count), group.op, group.source, Text(group.code, style=style), Text(group.message))
    if len(groups) > top:
        rest = sum(group.count for group in groups[top:])
        table.add_row(str(rest), "", "", "", f"in {len(groups) - top} more places: why.txt in a dump folder has all")
    return table
