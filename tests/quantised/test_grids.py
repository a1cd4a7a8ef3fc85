"""Weights that are unpacked from formats of any kind stay in few bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from trt_passes.passes.lower.stored_grids import on_grid

from .judged import products, whole


def four_bits(rows: int, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 16, (rows, columns), generator=generator)


class Packed(nn.Module):
    """Eight numbers of four bits in each int32, with scales and zero points for groups of 32, as GPTQ stores them."""

    def __init__(self, dtype: torch.dtype, transposed: bool) -> None:
        super().__init__()
        q = four_bits(64, 128)
        packed = sum(q[:, i::8] << (4 * i) for i in range(8))
        self.register_buffer("packed", torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32))
        self.register_buffer("scales", (torch.rand(64, 4) / 50 + 0.01).to(dtype))
        self.register_buffer("zeros", torch.randint(6, 10, (64, 4)))
        self.transposed = transposed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shifts = torch.arange(0, 32, 4, dtype=torch.int32)
        q = (self.packed.unsqueeze(-1) >> shifts) & 15
        q = q.reshape(64, 4, 32) - self.zeros.unsqueeze(-1)
        weight = (q.to(x.dtype) * self.scales.unsqueeze(-1)).reshape(64, 128)
        return x @ weight.t() if self.transposed else nn.functional.linear(x, weight)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_packed_weights(dtype: torch.dtype, transposed: bool) -> None:
    x = torch.randn(9, 128).to(dtype)
    within = {torch.float32: 1e-5, torch.float16: 3e-3}.get(dtype, 4e-2)
    compiled = whole(Packed(dtype, transposed), [x], (x,), within=within)
    assert "1 of 1 products with int8 weights" in products(compiled)


def test_a_grid_is_found_and_nothing_else() -> None:
    q = torch.randint(-127, 128, (64, 256), dtype=torch.int8)
    scale = torch.rand(64, 1) + 0.5
    numbers, steps = on_grid(q * scale)
    torch.testing.assert_close(numbers * steps, q * scale)
    assert torch.equal(numbers, q)
    assert on_grid(torch.randn(64, 256)) is None
    assert on_grid(torch.full((64, 256), torch.nan)) is None
    zeros, _ = on_grid(torch.zeros(64, 256))
    assert not zeros.any()


def test_floats_that_were_never_few_bits_are_folded() -> None:
    model = nn.Module()
    model.register_buffer("w", torch.randint(-9, 9, (64, 64)).float())
    model.forward = lambda x: nn.functional.linear(x, model.w * 2)
    x = torch.randn(9, 64)
    assert products(whole(model, [x], (x,), within=1e-5)) == ""
