"""Places in sorted sequences against eager."""

import math

import pytest
import torch

from tests.oracle import check

generator = torch.Generator().manual_seed(5)
x = torch.randn(3, 4, generator=generator)
row = torch.randn(6, generator=generator).sort()[0]
rows = torch.randn(3, 6, generator=generator).sort(1)[0]


@pytest.mark.parametrize("right", [False, True])
def test_buckets(right):
    def function(x, row):
        return torch.bucketize(x, row, right=right), torch.bucketize(x[0, 0], row, out_int32=True, right=right)

    check(function, [x, row], build=True)
    check(lambda x, row: torch.bucketize(x.round().int(), row.round().int(), right=right), [x * 3, row * 3])


def test_sequences():
    def function(x, row, rows, shuffled):
        one = torch.searchsorted(row, x), torch.searchsorted(row, x, side="right"), torch.searchsorted(row, 0.3)
        sorter = shuffled.argsort(1)
        return *one, torch.searchsorted(rows, x, out_int32=True), torch.searchsorted(shuffled, x, sorter=sorter)

    check(function, [x, row, rows, rows.flip(1)], build=True)


def test_equal_values_and_nans():
    values = torch.tensor([1.0, 2.0, math.nan, 9.0, -1.0])
    sequence = torch.tensor([1.0, 2.0, 2.0, 3.0])
    check(lambda x, s: (torch.searchsorted(s, x), torch.searchsorted(s, x, right=True)), [values, sequence])


def test_dynamic():
    dynamic = [{0: "n"}, {0: "n", 1: "m"}]
    check(lambda x, s: torch.searchsorted(s, x), [x, rows], dynamic, {"n": (1, 3, 5), "m": (1, 6, 6)}, build=True)
