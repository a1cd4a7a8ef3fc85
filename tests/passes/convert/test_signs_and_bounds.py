"""Signs, extremes of two, and clamps against eager."""

import math

import pytest
import torch

from tests.oracle import check

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
special = torch.tensor([0.0, -0.0, 1.5, -2.0, math.inf, -math.inf, math.nan])


@pytest.mark.parametrize("dtype", FLOATS)
def test_signs(dtype):
    def function(x, y):
        y = torch.where(y.isnan(), 1.0, y)  # a NaN has a sign bit too, which no layer can read
        numbers = x.sign(), x.sgn(), -x, x.abs(), y.signbit(), x.angle()
        return *numbers, torch.copysign(x, y), torch.copysign(x, -2), torch.copysign(x, -0.0)

    x = special.to(dtype)
    check(function, [x, x.flip(0)], [{0: "n"}] * 2, {"n": (1, 7, 9)}, build=True)


def test_signs_of_integers():
    def function(x, b):
        return x.sign(), -x, x.abs(), x.signbit(), x.angle(), torch.copysign(x, x - 1), b.sign(), b.signbit()

    check(function, [torch.tensor([-3, 0, 4]), torch.tensor([True, False, True])])


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_greater_and_the_lesser(dtype):
    def function(x, y):
        return torch.fmax(x, y), torch.fmin(x, y), torch.maximum(x, y), torch.minimum(x, y), x.clamp(y, y + 1)

    x = special.to(dtype)
    numbers = x[:6]
    check(lambda x, y: (torch.fmax(x, y), torch.fmin(x, y)), [x, x.flip(0)])
    check(function, [numbers, numbers.flip(0)[:, None]], [{0: "n"}, None], {"n": (1, 6, 9)}, build=True)


def test_bounds_of_booleans_and_of_mixed_types():
    def function(b, c, i, f):
        both = torch.clamp_min(b, c), torch.clamp_max(b, c), torch.maximum(b, c), torch.minimum(b, c)
        mixed = i.clamp(-1.5), i.clamp(f, None), torch.fmax(i, f), torch.maximum(b, i), i.clamp(max=2)
        return *both, *mixed

    flags = torch.tensor([True, False, True, False])
    check(function, [flags, flags.roll(2) & flags[0], torch.tensor([-3, 0, 4, 9]), special[2:6]])


@pytest.mark.parametrize("dtype", FLOATS)
def test_lengths_and_powers_of_two(dtype):
    def function(x, y, n):
        return torch.hypot(x, y), torch.ldexp(x, n), torch.ldexp(x, x)

    x = torch.tensor([0.0, 3.0, -4.0, 1e4, math.inf, 1e-4]).to(dtype)
    y = torch.tensor([0.0, 4.0, 3.0, 1e4, -2.0, 1e-4]).to(dtype)
    check(function, [x, y, torch.tensor([0, 1, -2, 0, 3, 2])], build=True)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_integers_to_negative_powers(dtype):
    x, exponents = torch.tensor([-2, -1, -1, 1, 3, 5]).to(dtype), torch.tensor([-1, -3, -2, -5, 4, 0]).to(dtype)
    check(torch.pow, [x, exponents], build=True)
