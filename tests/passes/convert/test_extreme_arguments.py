"""Arguments at the borders of what TensorRT's layers take: huge windows, many dimensions, constants of varying size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp

from tests.oracle import check

ROWS = {"rows": (1, 3, 6)}


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.avg_pool2d(x, 400, ceil_mode=True),
        lambda x: F.avg_pool2d(x, 400, 400, 200, ceil_mode=True, count_include_pad=False),
        lambda x: F.avg_pool2d(x, (300, 400), 200, (150, 200), divisor_override=7),
        lambda x: F.max_pool2d(x, 400, 400, 200, ceil_mode=True),
    ],
)
def test_windows_of_more_than_100_000_elements_are_pooled_along_each_dimension(pool):
    x = torch.randn(1, 2, 410, 401, generator=torch.Generator().manual_seed(0))
    check(pool, (x,), build=True)


def test_a_window_that_no_layer_takes_is_refused_before_it_is_converted():
    class Model(torch.nn.Module):
        def forward(self, x):
            return F.avg_pool1d(x, 100_000, 1, 50_000)

    compiled = tp.compile(Model(), (torch.randn(1, 1, 9),), min_block_size=1, executor="reference")
    (row,) = compiled.report.ledger
    assert str(row.verdict) == "rejected"
    assert row.reasons[0].code == "TP205"


MANY_DIMENSIONS = {
    "repeat": lambda x: x.repeat(4, 2, 3, 1, 2),
    "repeat all": lambda x: x.repeat(1, 2, 1, 2, 1, 2, 3, 2),
    "tile": lambda x: x[(None,) * 6].tile(2, 3),
    "repeat interleave": lambda x: x[(None,) * 6].repeat_interleave(3, -2),
}


@pytest.mark.parametrize("rows", [None, ROWS], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", MANY_DIMENSIONS)
def test_repeating_in_all_dimensions_that_a_tensor_can_have(name, rows):
    x = torch.randn(3, 4)
    check(MANY_DIMENSIONS[name], (x,), [{0: "rows"}] if rows else None, rows, build=True)


@pytest.mark.parametrize("reduce", ["amax", "amin"])
def test_extremes_scattered_into_a_constant_of_varying_size(reduce):
    def function(x):
        places = (x > 0).long()
        return torch.zeros(x.shape[0], 4).scatter_reduce(1, places, x, reduce), torch.full(
            (x.shape[0],), -1.0
        ).scatter_reduce(0, torch.zeros(x.shape[0], dtype=torch.long), x[:, 0], reduce)

    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    x[1, 2] = torch.nan
    check(function, (x,), [{0: "rows"}], ROWS, build=True)


def test_a_comparison_that_needs_a_ninth_dimension_is_refused():
    class Model(torch.nn.Module):
        def forward(self, x):
            return torch.bucketize(x, torch.tensor([0.0, 1.0]))

    compiled = tp.compile(Model(), (torch.randn(1, 2, 1, 2, 1, 2, 1, 3),), min_block_size=1, executor="reference")
    assert [reason.code for row in compiled.report.ledger for reason in row.reasons] == ["TP202"]


def test_group_norm_of_nothing():
    check(lambda x: (F.group_norm(x, 3), x + 1), (torch.randn(0, 3, 2),), build=True)
