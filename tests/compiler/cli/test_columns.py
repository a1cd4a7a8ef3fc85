"""Tables at every width: no word is broken, no text is lost, and nothing is wider than it has to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text
from trt_passes.compiler.cli.columns import table_lines

WORDS = st.text("abcdefgh-/._", min_size=1, max_size=14)
PROSE = st.lists(WORDS, max_size=12).map(" ".join)
ROWS = st.lists(st.tuples(WORDS, st.integers(0, 9999).map(str), PROSE, PROSE), min_size=1, max_size=4)
NAMES = ("name", "count>", "inputs~", "why~")


@given(ROWS, st.integers(30, 130))
def test_words_stay_whole_and_in_order(rows: list[tuple[str, ...]], width: int) -> None:
    lines = [line.plain for line in table_lines(NAMES, rows, width)]
    words = " ".join(lines).split()
    for row in rows:
        for word in " ".join(row).split():
            assert word in words
    longest = max(len(row[0]) + len(row[1]) for row in rows)
    if width >= longest + 40:
        assert max(map(len, lines)) <= width


def test_prose_goes_below_its_row_where_there_is_no_room() -> None:
    row = ("segment-00", "64", "x: f32[2,6,32], layer_norm_3: f32[2,6,32]", "getitem: f32[2,6,32]")
    wide = [line.plain for line in table_lines(NAMES, [row], 120)]
    assert wide[2].split() == " ".join(row).split()
    narrow = [line.plain for line in table_lines(NAMES, [row], 34)]
    assert narrow[2:] == [
        " segment-00      64",
        "     inputs: x: f32[2,6,32],",
        "             layer_norm_3:",
        "             f32[2,6,32]",
        "     why: getitem: f32[2,6,32]",
    ]


def test_styles_are_kept() -> None:
    lines = list(table_lines(("verdict", "share>"), [(Text("trt", style="green"), "98 %")], 80))
    assert any(str(span.style) == "green" for span in lines[2].spans)
    assert lines[2].plain == " trt        98 %"


@pytest.mark.parametrize("width", [20, 80])
def test_a_word_that_is_too_long_is_not_cut(width: int) -> None:
    name = "layers.0." * 20
    assert any(name in line.plain for line in table_lines(("module~", "ops>"), [(name, "1")], width))
