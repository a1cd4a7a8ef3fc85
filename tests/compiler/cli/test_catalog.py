"""`trt-passes ops`: which operators are supported, under which conditions, and what becomes of the others."""

from __future__ import annotations

import pytest
from trt_passes.compiler.cli.catalog import operators_text
from trt_passes.compiler.errors import UserError
from trt_passes.passes.convert import default_registry


def heads(text: str) -> list[str]:
    return [line.split(" ")[0] for line in text.splitlines() if not line.startswith(" ")]


def test_all_operators() -> None:
    lines = operators_text().splitlines()
    assert len(lines) == len(default_registry().targets) + 1
    assert any(line.split() == ["aten.linear", "kept", "whole", "TP201"] for line in lines)
    assert lines[-1].startswith(f"{len(lines) - 1} operators")


@pytest.mark.parametrize(
    "name", ["aten.avg_pool2d", "avg_pool2d", "aten::avg_pool2d", "torch.ops.aten.avg_pool2d.default"]
)
def test_one_operator(name: str) -> None:
    text = operators_text(name)
    assert heads(text) == ["aten.avg_pool2d"]
    assert "(kept whole by decompose)" in text
    assert "The mean of each window" in text
    assert "TP201  `self` has one of the data types f32, f16, bf16" in text
    assert "any: size, fixed or varying" in text


def test_all_overloads() -> None:
    assert heads(operators_text("aten.add")) == ["aten.add.Scalar", "aten.add.Tensor"]
    assert "any: data type that TensorRT has" in operators_text("aten.add.Tensor")


def test_what_needs_a_layer_that_not_every_tensorrt_builds() -> None:
    assert "TP209" in operators_text("aten.nonzero")


def test_beginnings_and_patterns() -> None:
    assert {"aten.max_pool2d_with_indices", "aten.max_pool3d_with_indices"} <= set(heads(operators_text("aten.max_p")))
    assert set(heads(operators_text("*_pool2d"))) >= {"aten.avg_pool2d", "aten.adaptive_max_pool2d"}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("aten.addcmul", "decompose rewrites it"),
        ("aten.rand_like", "TP207  stays in PyTorch: it draws random numbers"),
        ("aten.erfinv", "TP101  stays in PyTorch: it has no converter"),
        ("aten.resize_", "TP208  stays in PyTorch"),
    ],
)
def test_operators_without_a_converter(name: str, line: str) -> None:
    text = operators_text(name)
    assert heads(text)[0].startswith(name)
    assert line in text


@pytest.mark.parametrize("name", ["aten.avgpool2d", "linaer", "", "*nothing*", "aten.add.tensr"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UserError, match="has a converter"):
        operators_text(name)


def test_a_typo_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"Did you mean '?.*aten\.linear"):
        operators_text("aten.linaer")
