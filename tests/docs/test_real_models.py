"""The table of trained models says what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from docs import generate
from docs.generator.blocks import filled
from docs.generator.real_models import real_model_blocks, section

ROW = {
    "compiled": 1,
    "nodes": 4,
    "trt": 3,
    "engines": 1,
    "error": 2e-7,
    "deviation": 0.0,
    "words": "an answer",
    "loaded": 0.0,
    "megabytes": 1.5,
    "reasons": [{"op": "aten.abs", "code": "TP201", "nodes": 1, "message": "no | complex numbers"}],
}


def _text(tolerance: float = 0.0, unit: str = "", **rows: Any) -> str:
    model = {"package": "package", "task": "a task", "result": "the answer", "tolerance": tolerance, "unit": unit}
    model["rows"] = {name.replace("_", " "): row for name, row in rows.items()}
    return section({"date": "today", "machine": "here", "versions": {"torch": "2"}, "models": {"one": model}})


@pytest.mark.parametrize(
    ("row", "tolerance", "counts", "cell"),
    [
        ({}, 0.0, "1 ways to compile them 1 come", "| the same | the same | 75.0% of 4 | 1 | 2e-07 | 1.5 MB |"),
        ({"deviation": 0.5}, 1.0, "1 ways to compile them 1 come", "| within 0.5 cents | the same |"),
        ({"deviation": 2.0}, 1.0, "1 ways to compile them 0 come", "| **2 cents off** | the same |"),
        ({"deviation": None}, 1.0, "1 ways to compile them 0 come", "| **another** | the same |"),
        ({"loaded": 9.0}, 1.0, "1 ways to compile them 0 come", "| the same | **9 cents off** |"),
        ({"error": None}, 0.0, "1 ways to compile them 1 come", "| another shape |"),
    ],
)
def test_a_row_is_the_same_within_its_tolerance(row: Any, tolerance: float, counts: str, cell: str) -> None:
    text = _text(tolerance, "cents", fp32_fixed={**ROW, **row})
    assert counts in text
    assert cell in text


def test_a_result_that_is_off_is_beside_that_of_autocast() -> None:
    model = {"package": "p", "tolerance": 1.0, "unit": "cents", "autocast": {"fp16": 20.0, "bf16": None}}
    model["rows"] = {f"{name} fixed": {**ROW, "deviation": 15.0} for name in ("fp32", "fp16", "bf16")}
    model["rows"]["fp16 ranges"] = ROW
    text = section({"date": "today", "machine": "here", "versions": {}, "models": {"one": model}})
    assert "| one | fp32 | fixed | **15 cents off** |" in text
    assert "| one | fp16 | fixed | **15 cents off** (PyTorch's autocast: 20) |" in text
    assert "| one | bf16 | fixed | **15 cents off** (PyTorch's autocast: another) |" in text
    assert "| one | fp16 | ranges | the same |" in text


def test_what_is_refused_failed_or_in_pytorch_is_told_once() -> None:
    refused, failed = {"refused": "no words for it"}, {"failed": "KeyError: 'x'"}
    text = _text(fp32_fixed=ROW, fp32_ranges=ROW, fp16_fixed=refused, fp16_ranges=failed)
    assert "1 are refused and 1 failed" in text
    assert "- **one**, fp32 fixed, fp32 ranges: 1 node of `aten.abs` (TP201): no | complex numbers" in text
    assert "- **one**, fp16 fixed: refused: no words for it" in text
    assert "- **one**, fp16 ranges: failed: KeyError: 'x'" in text


def test_the_table_is_current() -> None:
    text = (generate.FOLDER / "models.md").read_text(encoding="utf-8")
    assert real_model_blocks()
    assert filled(text, real_model_blocks()) == text, "docs/models.md is stale: run `make docs`"
