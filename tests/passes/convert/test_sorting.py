"""Order against eager: sort, top-k, medians, modes."""

import math

import pytest
import torch
from trt_passes.passes.convert import sorting

from tests.oracle import check

generator = torch.Generator().manual_seed(4)
x = torch.randn(3, 7, 2, generator=generator)
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool]


def elements(dtype):
    """Few different values, so that the order of equal ones shows."""
    return x > 0 if dtype == torch.bool else (x * 2).round().to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sort(dtype):
    def function(x):
        return (
            *x.sort(dim=1, stable=True),
            *x.sort(dim=-1, descending=True, stable=True),
            x.argsort(dim=0, stable=True),
            x.msort(),
        )

    check(function, [elements(dtype)], build=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("descending", [False, True])
def test_long_dimensions_run_through_a_sorting_network(dtype, descending, monkeypatch):
    monkeypatch.setattr(sorting, "MAX_K", 4)

    def function(x):
        return x.sort(dim=1, stable=True, descending=descending), x.sort(dim=0, stable=True, descending=descending)[1]

    result = check(lambda x: (*function(x)[0], function(x)[1]), [elements(dtype)], build=True)
    assert result.layers().count("RECURRENCE") == 2


def test_a_dimension_that_is_longer_than_top_k_selects():
    values = torch.randint(0, 900, (2, 5000), generator=generator)
    result = check(lambda x: (*x.sort(dim=1, stable=True), x.topk(4000)[0]), [values])
    assert len(result.layers()) < 120


def test_dynamic_sizes():
    def function(x):
        order = *x.sort(dim=1, stable=True), *x.sort(dim=0, descending=True, stable=True)
        return *order, x.median(1)[0], x.kthvalue(2, 1)[0]

    check(function, [x], [{0: "n", 1: "m"}], {"n": (1, 3, 4), "m": (2, 7, 19)}, build=True)


def test_a_dynamic_size_that_may_be_long():
    def function(x):
        return *x.sort(dim=1, stable=True), x.argsort(dim=-1, descending=True, stable=True)

    check(function, [x[..., 0]], [{0: "n", 1: "m"}], {"n": (1, 3, 4), "m": (2, 7, 5000)}, build=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nan_is_the_greatest(dtype, monkeypatch):
    rows = torch.tensor([[math.nan, 1, math.inf, -math.inf, math.nan, math.inf], [math.inf, math.nan, 3, 2, 2, 1]])

    def function(x):
        order = *x.sort(dim=1, stable=True), *x.sort(dim=1, descending=True, stable=True)
        values = x.topk(3)[0], x.topk(5, largest=False)[0], x.median(1)[0], x.nanmedian(1)[0], x.kthvalue(5, 1)[0]
        return *order, *values, *x.max(1), *x.min(1), x.argmin(), x.argmax(1)

    check(function, [rows.to(dtype)], build=True)
    monkeypatch.setattr(sorting, "MAX_K", 2)
    check(lambda x: (*x.sort(dim=1, stable=True), *x.median(1)), [rows.to(dtype)])


@pytest.mark.parametrize("dtype", DTYPES[:-1])
def test_statistics(dtype):
    """Which of several equal elements PyTorch names is left open, except by `mode`."""

    def function(x):
        of_all = x.median(), x.nanmedian()
        along = x.median(1), x.median(0, keepdim=True), x.nanmedian(1), x.kthvalue(3, 1), x.kthvalue(1, -1, True)
        return *of_all, *(result[0] for result in along), *x.mode(1), *x.mode(0, keepdim=True)

    check(function, [elements(dtype)], build=True)
    different = torch.randperm(42, generator=generator).reshape(x.shape).to(dtype)
    check(lambda x: (*x.median(1), *x.nanmedian(0), *x.kthvalue(3, 1, True)), [different])


def test_only_missing_values():
    check(lambda x: (*x.nanmedian(1), x.nanmedian(), x.median()), [torch.full((2, 3), math.nan)])


def test_extreme_integers():
    limits = torch.iinfo(torch.int64)
    numbers = torch.tensor([limits.max, 0, limits.min, limits.max, limits.min, -1])
    check(lambda x: (*x.sort(stable=True), *x.sort(descending=True, stable=True), *x.topk(2)), [numbers])


def test_scalars_and_one_element():
    def function(scalar, one):
        return *scalar.sort(), *scalar.topk(1), *scalar.median(0), *scalar.mode(), *one.sort(0), *one.sort(1)

    check(function, [torch.tensor(2.0), torch.ones(1, 3)])


@pytest.mark.parametrize("width", [2, 8, 64])
def test_the_steps_sort(width):
    """By the 0-1 principle it is enough to sort zeros and ones; here also with distinct random numbers."""
    blocks, mirrored = sorting._steps(width)
    values = torch.rand(50, width, generator=generator).round()
    values[::2] = torch.rand(25, width, generator=generator)
    places = torch.arange(width)
    found = values
    for block, mirror in zip(blocks, mirrored, strict=True):
        partner = places ^ (block - 1 if mirror else block // 2)
        other = found[:, partner]
        found = torch.where(places < partner, torch.minimum(found, other), torch.maximum(found, other))
    torch.testing.assert_close(found, values.sort(1)[0])
