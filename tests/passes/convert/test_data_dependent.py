"""Operators with results of data-dependent size, consumed to a fixed size inside the network.

TensorRT-RTX accepts their layers and infers shapes, so the reference executor can evaluate them; no engine is built.
"""

import pytest
import torch

from tests.models import TORCH_RELEASE
from tests.oracle import check

unique = pytest.mark.skipif(TORCH_RELEASE < (2, 13), reason="torch 2.11 records a wrong dtype for the places of unique")
x = torch.randn(3, 4, generator=torch.Generator().manual_seed(6))
FIVES = torch.tensor([[2, 1, 2], [5, 5, 2]])


def test_nonzero():
    check(lambda x: x.relu().nonzero().sum(0), [x])
    check(lambda x: torch.where(x > 0)[1].sum(), [x])
    check(lambda x: x.nonzero().sum(0), [torch.tensor([0, 3, -1])])


def test_masked_select():
    check(lambda x: (x.masked_select(x > 0).sum(), x.masked_select(x[0] > 0).amax()), [x])


def test_masks_as_indices():
    def function(x):
        rows = x[:, 0] > -9
        return x[x > 0].sum(), x[rows].sum(0), x[:, x[0] > 0].sum(1)

    check(function, [x])
    check(lambda x: x[:, x[0] > 0].sum((0, 1)), [torch.stack([x, x + 1], -1)])


def test_nothing_found():
    check(lambda x: (x[x > 9].sum(), x.masked_select(x > 9).sum()), [x])


@unique
@pytest.mark.parametrize("values", [FIVES, FIVES.float(), FIVES > 1])
def test_unique(values):
    def function(x):
        different, inverse, counts = x.unique(return_inverse=True, return_counts=True)
        return different.sum(), inverse, counts.amax(), x.unique().amax()

    check(function, [values])


def test_runs():
    def function(x):
        different, inverse, counts = x.unique_consecutive(return_inverse=True, return_counts=True)
        return different.sum(), inverse, counts.amax(), counts.sum()

    check(function, [FIVES])


@unique
def test_dynamic():
    def function(x):
        return x[x > 0].sum(), x.masked_select(x[0] > 0).amax(), x.unique(return_counts=True)[1].amax()

    check(function, [x], [{0: "n", 1: "m"}], {"n": (1, 3, 4), "m": (4, 4, 9)})


def test_a_fixed_number_of_places():
    """The form that TensorRT-RTX can build."""

    def function(x):
        found = (torch.nonzero_static(x > 0, size=size, fill_value=-7) for size in (1, 3, 40))
        return *found, torch.nonzero_static(x > 9, size=2), torch.nonzero_static(x[0, 0] > 9, size=2)

    check(function, [x], build=True)
    check(function, [x], [{0: "n", 1: "m"}], {"n": (1, 3, 4), "m": (1, 4, 9)}, build=True)


def test_places_in_what_has_no_elements():
    def function(x, y):
        return torch.nonzero_static(x, size=2, fill_value=7) + y

    check(function, [torch.ones(3, 0), torch.tensor([1, 2])], build=True)
