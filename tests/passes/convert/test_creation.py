"""Tensors made from numbers and sizes, against eager."""

import torch

from tests.oracle import check

x = torch.randn(2, 3, 4)


def test_filled_tensors():
    def function(x):
        like = torch.ones_like(x), torch.full_like(x, 2.0, dtype=torch.float16), torch.zeros_like(x, dtype=torch.int64)
        return *like, torch.zeros(3), x.new_ones(x.shape[0], 2), torch.full((2, 2), True), torch.scalar_tensor(3.0) * x

    check(function, [x], [{0: "n"}], {"n": (1, 2, 5)}, build=True)


def test_ramps_and_constants():
    def function(x):
        ramps = torch.arange(0, 1, 0.25), torch.arange(5, 0, -2), torch.arange(3.5)
        return *(ramp.sum() + x for ramp in ramps), torch.tensor([1.0, 2.0, 3.0])[:, None] * x[:1, 0]

    check(function, [x], build=True)


def test_ramps_of_dynamic_sizes():
    def function(x):
        size = x.shape[0]
        return torch.arange(size) * 2, torch.arange(0, size, dtype=torch.float16), torch.arange(3, size + 3), x + size

    check(function, [x], [{0: "n"}], {"n": (2, 3, 7)}, build=True)
