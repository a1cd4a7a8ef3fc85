"""Numbers that halves are multiplied or divided by, and that are none of theirs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.oracle import check


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(-1e9))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


VALUES = torch.tensor([[0.0, 1.0, 0.5, 60000.0], [1.0, -60000.0, 2e-7, 3.0]])
FUNCTIONS = {
    "a mask times a large number": lambda x: (1 - x) * -1e9,
    "times a small number": lambda x: x * 1e-9,
    "by a large number": lambda x: x / 1e9,
    "by a small number": lambda x: x / 1e-9,
    "a tensor of one number": Scaled(),
    "a whole number": lambda x: x * 100_000,
    "infinity": lambda x: x * float("inf"),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_numbers_beyond_the_type_are_taken_as_pytorch_takes_them(
    function: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    check(function, [VALUES.to(dtype)], tolerance=(8e-3, 6e-8))


def test_sizes_beyond_the_type_are_taken_as_pytorch_takes_them() -> None:
    x = VALUES.half()
    check(lambda x: x / (x.shape[0] * 60000), [x], [{0: "n"}], {"n": (1, 2, 5)}, tolerance=(2e-3, 6e-8))


def test_numbers_of_the_type_cost_no_casts() -> None:
    network = check(lambda x: x * 0.3 / 7, [VALUES.half()]).built.network
    kinds = {network.get_layer(index).type.name for index in range(network.num_layers)}
    assert "CAST" not in kinds
