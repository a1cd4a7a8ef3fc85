"""The ledger and the table of reason codes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trt_passes import Ledger, Reason, Verdict
from trt_passes.compiler.ir.ledger import LedgerRow
from trt_passes.compiler.ir.reasons import REASON_CODES

FIELDS = ["node", "op", "verdict", "reasons", "because", "segment", "module", "source"]


@st.composite
def rows(draw: st.DrawFn) -> LedgerRow:
    text = st.text(max_size=8)
    reasons = draw(st.lists(st.builds(Reason, st.sampled_from(sorted(REASON_CODES)), text), max_size=3))
    return LedgerRow(
        node=draw(text),
        op=draw(text),
        verdict=draw(st.sampled_from(Verdict)),
        reasons=tuple(reasons),
        because=draw(st.none() | text),
        segment=draw(st.none() | text),
        module=draw(text),
        source=draw(st.none() | text),
    )


@given(st.lists(rows(), max_size=8).map(tuple))
def test_jsonl_round_trips_and_counts_add_up(items: tuple[LedgerRow, ...]) -> None:
    ledger = Ledger(items)
    text = ledger.to_jsonl()
    assert Ledger.from_jsonl(text.split("\n")) == ledger
    assert sum(ledger.counts.values()) == len(ledger) == text.count("\n")
    assert list(ledger.counts) == [str(verdict) for verdict in Verdict]
    assert all(list(json.loads(line)) == FIELDS for line in text.split("\n") if line)


def test_coverage_is_the_share_of_trt() -> None:
    row = {verdict: LedgerRow(str(verdict), "aten.relu", verdict) for verdict in Verdict}
    assert Ledger((row[Verdict.TRT], row[Verdict.FAILED], row[Verdict.TRT], row[Verdict.DEMOTED])).coverage == 0.5
    assert Ledger(()).coverage == 1.0


def test_rows_are_found_by_node() -> None:
    row = LedgerRow("relu", "aten.relu", Verdict.TRT)
    assert Ledger((row,))["relu"] is row
    with pytest.raises(KeyError, match="relo"):
        Ledger((row,))["relo"]


@pytest.mark.parametrize("code", sorted(REASON_CODES))
def test_reason_codes_say_what_to_do(code: str) -> None:
    row = REASON_CODES[code]
    verdicts = {"1": "unsupported", "2": "rejected", "3": "demoted", "4": "excluded", "5": "failed"}
    assert str(row.verdict) == verdicts[code[2]]
    assert len(code) == 5
    for sentence in (row.meaning, row.remedy):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
    assert row.title == row.title.strip().rstrip(".")


def test_codes_are_unique_and_sorted() -> None:
    assert list(REASON_CODES) == sorted(REASON_CODES)
    assert {code[2] for code in REASON_CODES} == set("12345")
