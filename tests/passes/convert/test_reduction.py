"""Reductions, extremes, order and running sums against eager."""

import pytest
import torch

from tests.oracle import check

BATCH = {"n": (2, 3, 5)}
x = torch.randn(2, 3, 4)
i = torch.randint(-5, 6, (2, 3, 4))


def test_floats_with_a_dynamic_reduced_dimension():
    def function(x):
        sums = x.sum(), x.sum(1), x.sum((0, -1), keepdim=True), x.mean(), x.mean(-1), x.prod(1), x.cumsum(1)
        extremes = x.amax(1), x.amin((0, 1)), x.max(), x.min()
        spread = x.var(1), x.std(-1), x.var((0, 2), correction=0, keepdim=True), *torch.var_mean(x, 1)
        return *sums, *extremes, *spread, torch.logsumexp(x, 1)

    check(function, [x], [{1: "n"}], BATCH, build=True)


def test_norms():
    def function(x):
        orders = (0, 1, 2, 3, float("inf"), -float("inf"))
        return (
            *(torch.linalg.vector_norm(x, order, dim=1) for order in orders),
            x.norm(),
            x.norm(dim=(0, 2), keepdim=True),
        )

    check(function, [x], [{1: "n"}], BATCH, build=True)


def test_integers():
    def function(i):
        return i.sum(), i.sum(1), i.amax(1), i.prod(2), i.max(), i.any(), i.all(), i.any(1), i.all(1, True), i.cumsum(1)

    check(function, [i], [{0: "n"}], BATCH, build=True)


def test_booleans():
    def function(b):
        return b.sum(), b.sum(1), b.any(), b.all(1), b.amax(1), b.amin(0), b.any((0, 1)), b.cumsum(0)

    check(function, [i > 0], build=True)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_every_one_of_nothing_is_true_and_none_is(dtype):
    def function(x):
        return x.all(), x.any(), x.all(1), x.any(1), x.all(1, keepdim=True), x.all(0), x.any((0, 1))

    check(function, [torch.ones(2, 0, dtype=dtype)], build=True)
    check(lambda x: (x[:, x.shape[1] :].all(1), x[:, 1:].all(), x[:, 1:].any()), [torch.ones(2, 1).to(dtype)])


@pytest.mark.parametrize("values", [x, i], ids=["float", "int"])
def test_places_and_order(values):
    # Distinct values: the order among equal ones is not PyTorch's to promise.
    values = torch.randperm(24).reshape(2, 3, 4).to(values.dtype)

    def function(x):
        places = x.argmax(1), x.argmin(-1, keepdim=True), x.argmax(), *x.max(1), *x.min(0, keepdim=True)
        return *places, *x.topk(2), *x.topk(2, 1, largest=False), *x.sort(1), *x.sort(-1, descending=True)

    check(function, [values], build=True)


def test_zero_and_one_dimensions():
    def function(x, v):
        scalar = x.sum(), x.sum(0), x.mean(0), x.amax(0), x.argmax(0), x.cumsum(0), x.any(0)
        return *scalar, v.argmax(), v.argmax(0), *v.topk(2), *v.sort()

    check(function, [torch.tensor(2.5), torch.randn(7)], build=True)


def test_half():
    check(lambda x: (x.sum(1), x.mean(1), x.var(1), x.amax(0), x.norm()), [x.half()], build=True)


def test_logsumexp_of_infinities():
    values = torch.tensor([[-float("inf"), -float("inf")], [1000.0, 1000.0], [float("inf"), 0.0]])
    check(lambda x: torch.logsumexp(x, 1), [values])
