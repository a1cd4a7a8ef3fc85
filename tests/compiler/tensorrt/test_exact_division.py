"""Remainders and rounded quotients by constants, which are exact as PyTorch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.oracle import check

GENERATOR = torch.Generator().manual_seed(0)
X = torch.cat(
    [
        (torch.rand(500, generator=GENERATOR) - 0.5) * 5e4,
        (torch.rand(100, generator=GENERATOR) - 0.5) * 1e-3,
        torch.arange(-50, 50) * 0.1,
        torch.arange(-50, 50) * 3.0,
        torch.tensor([0.3, 0.7, -0.3, 0.0, 1e6, -1e6, torch.inf, -torch.inf, torch.nan]),
    ]
)


@pytest.mark.parametrize("divisor", [0.1, 0.7, -0.7, 1.0, 3.0, -2.5, 360.0, 2 * math.pi, 0.25, 1e20])
def test_multiples_and_large_numbers(divisor: float) -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        return x % divisor, torch.fmod(x, divisor), x // divisor, torch.div(x, divisor, rounding_mode="floor")

    check(function, [X], tolerance=(0.0, 0.0), build=divisor == 0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("divisor", [0.1, 0.7, -2.5, 3])
def test_halves_are_divided_by_the_rounded_number(divisor: float, dtype: torch.dtype) -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        return x % divisor, torch.fmod(x, divisor)

    check(function, [X[X.abs() < 6e4].to(dtype)], tolerance=(0.0, 0.0))


def test_tensors_that_are_constants() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        return x % torch.tensor([0.1, -3.0]), x // torch.tensor([[0.3]]), torch.fmod(x, torch.tensor(7.0))

    check(function, [X[:, None]], [{0: "n"}], {"n": (1, 9, 809)}, tolerance=(0.0, 0.0))


@pytest.mark.parametrize("divisor", [0.0, math.nan, 1e-40, 3e38])
def test_divisors_that_leave_no_room_for_steps_are_taken_as_before(divisor: float) -> None:
    check(lambda x: torch.fmod(x, divisor), [torch.tensor([0.0, torch.nan])])
