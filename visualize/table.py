"""Tables of a report in HTML."""

from __future__ import annotations

from html import escape

from ..compiler.ir.ledger import Verdict
from ..compiler.report.table import Table
from .palette import style_of


def to_html(table: Table) -> str:
    """An HTML table; cells that are verdicts have their colours."""
    head = "".join(f"<th{_aligned(name)}>{escape(name.removesuffix('>'))}</th>" for name in table.columns)
    body = "".join(
        f"<tr>{''.join(_cell(text, name) for text, name in zip(row, table.columns, strict=True))}</tr>"
        for row in table.rows
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
