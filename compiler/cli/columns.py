"""Tables on a terminal of any width: no word is broken, nothing is cut off."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

GAP = 3
"""Columns between two columns."""

_LEAST = 16
"""Characters that a column of sentences needs, or it goes below its row."""

Cell = str | Text


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: stands above it.
        number: whether it is aligned to the right.
        prose: whether its cells may be broken between words, and go below the row where there is no room.
    """

    name: str
    number: bool = False
    prose: bool = False

    @classmethod
    def parse(cls, text: str) -> Column:
        """A column from its name; one that ends in `>` holds numbers, one that ends in `~` prose."""
        return cls(text.rstrip(">~"), text.endswith(">"), text.endswith("~"))


def table_lines(names: Sequence[str], rows: Sequence[Sequence[Cell]], width: int) -> Iterator[Text]:
    """The lines of a table that is `width` characters wide if its words allow that.

    Columns of prose are wrapped between words; where that is not enough, they go below their row, the last one first.

    Args:
        names: of the columns, see `Column.parse`.
        rows: a cell for each column.
        width: of the terminal.
    """
    columns = [Column.parse(name) for name in names]
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    below: list[int] = []
    while True:
        beside = [index for index in range(len(columns)) if index not in below]
        widths = _widths(columns, cells, beside, width)
        prose = [index for index in beside if columns[index].prose]
        if widths is not None or not prose:
            break
        below.append(prose[-1])
    widths = widths or {index: _natural(columns[index], cells, index) for index in beside}
    yield _line([Text(columns[index].name) for index in beside], [columns[index] for index in beside], widths, beside)
    yield Text(" " + "─" * (sum(widths.values()) + GAP * (len(beside) - 1)))
    for row in cells:
        yield from _row(row, columns, widths, beside)
        for index in sorted(below):
            yield from _below(columns[index], row[index], width)


def _natural(column: Column, cells: Sequence[Sequence[Text]], index: int) -> int:
    return max([len(column.name), *(row[index].cell_len for row in cells)])


def _longest_word(column: Column, cells: Sequence[Sequence[Text]], index: int) -> int:
    words = (len(word) for row in cells for word in row[index].plain.split())
    return max([len(column.name), min(_LEAST, _natural(column, cells, index)), *words])


def _widths(
    columns: Sequence[Column], cells: Sequence[Sequence[Text]], beside: Sequence[int], width: int
) -> dict[int, int] | None:
    """The widths of columns that stand beside each other; None if they have no room."""
    widths = {index: _natural(columns[index], cells, index) for index in beside}
    room = width - 1 - GAP * (len(beside) - 1)
    prose = [index for index in beside if columns[index].prose]
    least = {index: _longest_word(columns[index], cells, index) for index in prose}
    if sum(widths.values()) - sum(widths[index] - least[index] for index in prose) > room:
        return None
    while sum(widths.values()) > room:
        # The column with the most to give shrinks first.
        widest = max(prose, key=lambda index: (widths[index] > least[index], widths[index]))
        widths[widest] -= 1
    return widths


def _row(
    row: Sequence[Text], columns: Sequence[Column], widths: dict[int, int], beside: Sequence[int]
) -> Iterator[Text]:
    wrapped = [_wrapped(row[index], widths[index]) if columns[index].prose else [row[index]] for index in beside]
    for place in range(max(map(len, wrapped))):
        cells = [lines[place] if place < len(lines) else Text() for lines in wrapped]
        yield _line(cells, [columns[index] for index in beside], widths, beside)


def _below(column: Column, cell: Text, width: int) -> Iterator[Text]:
    if cell.plain:
        for place, line in enumerate(_wrapped(cell, max(width - 5 - len(column.name) - 2, _LEAST))):
            head = f"     {column.name}: " if place == 0 else " " * (len(column.name) + 7)
            yield Text(head) + line


def _wrapped(cell: Text, width: int) -> list[Text]:
    lines = textwrap.wrap(cell.plain, width, break_long_words=False, break_on_hyphens=False)
    return [Text(line, style=cell.style) for line in lines] or [Text()]


def _line(cells: Sequence[Text], columns: Sequence[Column], widths: dict[int, int], beside: Sequence[int]) -> Text:
    line = Text(" ")
    for place, (cell, column, index) in enumerate(zip(cells, columns, beside, strict=True)):
        pad = " " * max(0, widths[index] - cell.cell_len)
        line += Text(" " * GAP if place else "")
        line += (Text(pad) + cell) if column.number else (cell + Text(pad))
    line.rstrip()
    return line
