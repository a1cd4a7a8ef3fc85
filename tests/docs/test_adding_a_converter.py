"""The converter of docs/adding-a-converter.md is one that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from trt_passes.compiler.tensorrt.executor import ReferenceExecutor

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-converter.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page defines, without the test, which needs the converter in the package."""
    found: dict[str, Any] = {}
    for block in blocks()[:3]:
        exec(compile(block, str(PAGE), "exec"), found)
    return found


def test_the_operator_is_converted(names: dict[str, Any]) -> None:
    assert {verdict: count for verdict, count in names["report"].verdicts.items() if count} == {"trt": 1}


@pytest.mark.parametrize("rows", [1, 4, 64])
def test_the_result_is_pytorchs(names: dict[str, Any], rows: int) -> None:
    (segment,) = names["report"].program.segments
    built = segment.network
    x = torch.randn(rows, 8)
    results = ReferenceExecutor(built.trt, built.network).run({built.inputs[0].name: x})
    torch.testing.assert_close(results[built.outputs[0].name], torch.erfc(x))


def test_the_condition_refuses_what_the_function_cannot_do(names: dict[str, Any]) -> None:
    program = names["tp"].trace(names["Tail"](), [torch.arange(4)])
    report = names["tp"].PassManager("decompose,lower,annotate", ctx=names["Converters"]()).run(program)
    (row,) = report.ledger
    assert row.reasons[0].code == "TP201"
    assert "self has data type i64, but it must be one of f32, f16, bf16" in row.reasons[0].message


def test_every_shared_condition_is_named() -> None:
    text = PAGE.read_text(encoding="utf-8")
    from trt_passes.passes.convert import conditions

    shared = [name for name, value in vars(conditions).items() if getattr(value, "__annotations__", {}).get("return")]
    for name in shared:
        if vars(conditions)[name].__annotations__["return"] == "Condition" and name != "never":
            assert f"`{name}`" in text, name
