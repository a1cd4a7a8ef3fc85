"""`trt-passes ops`: which operators are supported, under which conditions, and what becomes of the others."""

from __future__ import annotations

import importlib.metadata
import json

import pytest
from trt_passes.compiler.cli import catalog
from trt_passes.compiler.cli.catalog import operators_text
from trt_passes.compiler.cli.catalog_file import Catalog, from_json, shipped, to_text
from trt_passes.compiler.cli.catalog_of_code import catalog_of_code
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.text import op_name
from trt_passes.passes.convert import default_registry

from tests.operators.core_aten import core_operators


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


def test_a_decomposition_into_what_has_no_converter_is_no_promise() -> None:
    """`aten.svd` becomes `aten._linalg_svd`, which nothing converts; `aten.addcmul` becomes what is converted."""
    assert "some of which stay in PyTorch (TP101): none of" in operators_text("svd")
    assert "which have converters: all" in operators_text("addcmul")


CONVERTED = {".".join(op.split(".")[:2]) for op in shipped().operators}
DECOMPOSED = [op for op, fate in shipped().others.items() if fate == "decomposed"]


@pytest.mark.parametrize("op", [op for op in DECOMPOSED if ".".join(op.split(".")[:2]) not in CONVERTED][::40])
def test_what_is_said_of_a_decomposition_was_measured(op: str) -> None:
    samples = shipped().samples.get(".".join(op.split(".")[:2]))
    text = operators_text(op)
    if samples is None:
        assert "says whether all of them have converters" in text
    elif samples.whole and samples.left:
        assert f"{samples.whole} of {samples.whole + samples.left} samples" in text
    else:
        assert ("which have converters: all" in text) is bool(samples.whole)


@pytest.mark.parametrize("name", ["aten.avgpool2d", "linaer", "", "*nothing*", "aten.add.tensr"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UserError, match="has a converter"):
        operators_text(name)


def test_a_typo_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"Did you mean '?.*aten\.linear"):
        operators_text("aten.linaer")


# --- the shipped catalog ---------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def of_code() -> Catalog:
    return catalog_of_code()


def test_the_shipped_catalog_is_what_the_code_says(of_code: Catalog) -> None:
    stale = "compiler/cli/catalog.json is stale: run `make docs`, or `python -m docs.generator.catalog` alone"
    assert shipped().passes == of_code.passes, stale
    assert shipped().operators == of_code.operators, stale
    assert list(shipped().operators) == list(of_code.operators), stale


def test_what_becomes_of_the_other_operators_is_what_pytorch_says(of_code: Catalog) -> None:
    if of_code.torch != shipped().torch:
        pytest.skip(f"the catalog is of PyTorch {shipped().torch}")
    assert shipped().others == of_code.others, "compiler/cli/catalog.json is stale: run `make docs`"


def test_reading_gives_what_was_written(of_code: Catalog) -> None:
    assert from_json(json.loads(to_text(of_code))) == of_code


def test_every_operator_of_pytorch_is_in_one_list(of_code: Catalog) -> None:
    names = {op_name(target) for target in core_operators()}
    assert names <= {*of_code.operators, *of_code.others}
    assert not {*of_code.operators} & {*of_code.others}


@pytest.mark.parametrize("version", ["2.99.0", None])
def test_on_another_pytorch_it_is_asked_itself(version: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog that holds nothing but what is wrong here shows where the answer comes from."""

    def version_of(package: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError(package)
        return version

    monkeypatch.setattr(importlib.metadata, "version", version_of)
    monkeypatch.setattr(catalog, "shipped", lambda: shipped()._replace(others={"aten.erfinv": "TP208"}))
    assert "TP101" in operators_text("aten.erfinv")
    monkeypatch.setattr(importlib.metadata, "version", lambda package: f"{shipped().torch}.7+cpu")
    assert "TP208" in operators_text("aten.erfinv")


@pytest.mark.parametrize("name", ["aten.Float", "aten.len", "aten::append", "aten.add.str"])
def test_operators_of_torchscript_alone_are_unknown(name: str) -> None:
    with pytest.raises(UserError, match="has a converter"):
        operators_text(name)
