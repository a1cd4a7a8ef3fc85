"""A slice of `make operators`: a few samples of many operators, with fixed and with varying sizes."""

from __future__ import annotations

import pytest
import torch
from trt_passes.compiler.tensorrt.loader import available

from tests.operators.catalog import entries
from tests.operators.outcome import Kind
from tests.operators.samples import spread
from tests.operators.workers import Task, run_task

pytestmark = pytest.mark.skipif(available() is None, reason="TensorRT makes the networks")

FIXED = """
    add mul div.floor_rounding remainder pow where clamp lerp addcmul atan2 isfinite logical_xor sum var_mean amax
    argmin any cumsum sort topk gather index_select index_put scatter_add __getitem__ cat stack split permute
    squeeze_copy tril diagonal roll repeat expand as_strided constant_pad_nd nn.functional.pad.reflect softmax
    log_softmax nn.functional.gelu nn.functional.layer_norm nn.functional.group_norm nn.functional.batch_norm
    nn.functional.conv2d nn.functional.conv_transpose1d nn.functional.avg_pool2d nn.functional.max_pool3d
    nn.functional.adaptive_avg_pool2d nn.functional.interpolate.bilinear nn.functional.grid_sample
    nn.functional.embedding nn.functional.linear nn.functional.scaled_dot_product_attention einsum addmm baddbmm cdist
    arange linspace full_like bernoulli nonzero
"""
"""Entries that are run in float32 with the sizes of their samples."""

VARYING = """
    add mean softmax matmul cat gather permute flatten nn.functional.gelu nn.functional.conv2d
    nn.functional.interpolate.nearest cumsum tril where
"""
"""Entries that are also run with sizes that vary."""

OTHER_DTYPES = """
    add float_power floor_divide bitwise_xor bitwise_left_shift prod cumsum max.reduction_with_dim masked_fill sigmoid
"""
"""Entries that are also run in float16, int64 and bool."""

REFUSED = {"bernoulli", "nonzero"}


@pytest.mark.parametrize("name", FIXED.split())
def test_fixed_sizes(name: str) -> None:
    kinds = _kinds(Task(name, torch.float32, 2, 0))
    assert kinds == ({Kind.REFUSED} if name in REFUSED else {Kind.RIGHT})


@pytest.mark.parametrize("name", VARYING.split())
def test_varying_sizes(name: str) -> None:
    assert Kind.RIGHT in _kinds(Task(name, torch.float32, 0, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64, torch.bool], ids=str)
@pytest.mark.parametrize("name", OTHER_DTYPES.split())
def test_other_dtypes(name: str, dtype: torch.dtype) -> None:
    if dtype in entries()[name].supported_dtypes("cpu"):
        assert _kinds(Task(name, dtype, 2, 0)) == {Kind.RIGHT}


def _kinds(task: Task) -> set[Kind]:
    """How the samples ended, without those that eager or torch.export rejects, or that compute nothing."""
    trials = list(run_task(task))
    wrong = [f"{trial.text}: {trial.outcome.detail}" for trial in trials if trial.outcome.kind is Kind.WRONG]
    assert not wrong
    return {trial.outcome.kind for trial in trials} - {Kind.NOT_EXPORTED, Kind.NOT_APPLICABLE}


def test_a_spread_has_both_ends() -> None:
    assert spread(10, 3) == [0, 4, 9]
    assert spread(3, 5) == [0, 1, 2]
    assert spread(100, 1) == [0]
    assert len(spread(1000, 40)) == 40
