"""Tables that show themselves: aligned text, and HTML in notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir.notebook import ShownInNotebooks


@dataclass(frozen=True)
class Table(ShownInNotebooks):
    """Rows of texts under column names; a column whose name ends in `>` holds numbers. `str(table)` is aligned text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    shown_by: ClassVar[str] = "table_bundle"

    def to_html(self) -> str:
        """An HTML table; cells that are verdicts have their colours."""
        return self._repr_mimebundle_()["text/html"]

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
