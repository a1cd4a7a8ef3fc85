"""Every core ATen operator ends as a converter, a decomposition or a documented refusal."""

from __future__ import annotations

import pytest
import torch
from trt_passes.compiler.ir.text import op_name
from trt_passes.passes.convert import default_registry
from trt_passes.passes.decompose import is_decomposed

from tests.operators.core_aten import REFUSALS, core_operators


def test_there_are_core_operators() -> None:
    assert len(core_operators()) > 150
    assert torch.ops.aten.addmm.default in core_operators()


@pytest.mark.parametrize("target", core_operators(), ids=op_name)
def test_core_operator_has_an_end(target: torch._ops.OpOverload) -> None:
    ends = [default_registry().get(target) is not None, is_decomposed(target), op_name(target) in REFUSALS]
    assert any(ends), (
        f"{op_name(target)} is tagged core, and has no converter, no decomposition and no entry in REFUSALS"
    )


def test_no_refusal_is_out_of_date() -> None:
    converted = {op_name(target) for target in default_registry().targets}
    assert not converted & set(REFUSALS)


def test_refusals_are_sentences() -> None:
    assert all(text[0].isupper() and text.endswith(".") for text in REFUSALS.values())
