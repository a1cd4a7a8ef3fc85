"""Tables that show themselves: aligned text, and HTML in notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from ..compiler.analysis.tensor_bytes import bytes_text
from ..compiler.ir.ledger import Verdict
from .palette import style_of

if TYPE_CHECKING:
    from ..compiler.report.report import Report


@dataclass(frozen=True)
class Table:
    """Rows of texts under column names; a column whose name ends in `>` holds numbers. `str(table)` is aligned text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        lines = [tuple(name.removesuffix(">") for name in self.columns), *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(self._line(line, widths) for line in lines)

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = (
            cell.rjust(width) if name.endswith(">") else cell.ljust(width)
            for cell, width, name in zip(cells, widths, self.columns, strict=True)
        )
        return "  ".join(padded).rstrip()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """The table as HTML, and as text, for notebooks."""
        return {"text/plain": str(self), "text/html": self.to_html()}

    def to_html(self) -> str:
        """An HTML table; cells that are verdicts have their colours."""
        head = "".join(f"<th{_aligned(name)}>{escape(name.removesuffix('>'))}</th>" for name in self.columns)
        body = "".join(
            f"<tr>{''.join(_cell(text, name) for text, name in zip(row, self.columns, strict=True))}</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _aligned(column: str) -> str:
    return f' style="text-align:{"right" if column.endswith(">") else "left"}"'


def _cell(text: str, column: str) -> str:
    inner = escape(text)
    if text in set(Verdict):
        style = style_of(text)
        line = "double" if style.double else style.line
        paint = f"background:{style.fill};color:#1f2328;border:1.5px {line} {style.border};padding:0 .4em"
        inner = f'<span style="{paint}">{inner}</span>'
    return f"<td{_aligned(column)}>{inner}</td>"


def report_table(report: Report) -> Table:
    """One row per engine, and one per verdict of what stays in PyTorch: op nodes, bytes per call, engine size."""
    total = max(1, len(report.ledger))
    bills = {engine.segment: engine for engine in report.boundary.engines}
    rows = []
    for record in report.segments:
        bill = bills.get(record.name)
        crossing = [bytes_text(bill.input_bytes), bytes_text(bill.output_bytes)] if bill else ["", ""]
        size = "" if record.engine_bytes is None else bytes_text(record.engine_bytes)
        rows.append((record.name, "trt", f"{record.ops:,}", _share(record.ops, total), *crossing, size))
    for verdict, count in report.verdicts.items():
        if count and (verdict != "trt" or not report.segments):
            place = "TensorRT" if verdict == "trt" else "PyTorch"
            rows.append((place, verdict, f"{count:,}", _share(count, total), "", "", ""))
    columns = ("where", "verdict", "op nodes>", "share>", "bytes in>", "bytes out>", "engine>")
    return Table(columns, tuple(rows))


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %"
