"""Blocks that are quantised at run time: NVFP4 and MXFP8 of NVIDIA's modelopt."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.passes.decompose.quantized_blocks import fake_mx, fake_nvfp4

from .judged import agree, products, whole

FOUR = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def nearest_of_four(x: torch.Tensor) -> torch.Tensor:
    """The nearest number of e2m1, of two that are as near the one with an even mantissa."""
    distances = (x.abs()[..., None] - FOUR).abs()
    ties = torch.arange(8) % 2 * 1e-6
    return FOUR[(distances + ties).argmin(-1)] * x.sign()


def test_four_bits() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 64)
    amax = x.abs().amax()
    scale = amax / (448 * 6)
    blocks = x.reshape(4, 4, 16)
    steps = (blocks.abs().amax(2, keepdim=True) / 6 / scale).to(torch.float8_e4m3fn).float() * scale
    right = (nearest_of_four((blocks / steps).clamp(-6, 6)) * steps).reshape(4, 64)
    torch.testing.assert_close(fake_nvfp4(x, 16, amax), right, rtol=1e-5, atol=1e-6)
    grid = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0, -0.25, -5.0, 0, 0, 0, 0, 0, 6])
    expected = torch.tensor([0, 1, 1, 2, 2, 4, 4, 6, 0, -4, 0, 0, 0, 0, 0, 6.0])
    torch.testing.assert_close(fake_nvfp4(grid, 16, torch.tensor(6.0)), expected)
    assert not fake_nvfp4(torch.zeros(16), 16, torch.tensor(1.0)).any()


def test_eight_bits() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 64) * torch.tensor([1e-3, 1.0, 1e3])[:, None]
    x[0, :32] = torch.linspace(-448, 448, 32) / 1024  # the largest is a power of two times 448
    x[1, :32] = 0
    blocks = x.reshape(3, 2, 32)
    _, exponents = torch.frexp(blocks.abs().amax(2, keepdim=True) / 448)
    mantissas, _ = torch.frexp(blocks.abs().amax(2, keepdim=True) / 448)
    steps = torch.ldexp(torch.ones(()), torch.where(mantissas == 0.5, exponents - 1, exponents))
    right = ((blocks / steps).to(torch.float8_e4m3fn).float() * steps).reshape(3, 64)
    torch.testing.assert_close(fake_mx(x, 32, 8, 4), right)


TABLES = {
    (4, 2): [0, 0.5, 1, 1.5, 2, 3, 4, 6],
    (6, 2): [m * 2.0**e / 8 for e in range(3) for m in (range(8, 16) if e else range(16))],
    (6, 3): [m * 2.0**e / 4 for e in range(-2, 5) for m in (range(4, 8) if e > -2 else range(8))],
    (8, 0): list(range(128)),
}
"""All numbers of formats, in order: every second has an even mantissa."""


@pytest.mark.parametrize("form", TABLES)
def test_other_formats_of_blocks(form: tuple[int, int]) -> None:
    table = torch.tensor(TABLES[form], dtype=torch.float32)
    torch.manual_seed(0)
    ties = (table[1:] + table[:-1]) / 2
    x = torch.cat([torch.cat([table, ties, -ties, torch.randn(600)])[: 32 * 16].reshape(16, 32), torch.zeros(1, 32)])
    x[:16, 0] = table[-1]  # so that the scale is 1
    odd = torch.arange(len(table)) % 2 * 1e-6
    nearest = table[((x.abs()[..., None] - table).abs() + odd).argmin(-1)] * x.sign()
    torch.testing.assert_close(fake_mx(x, 32, *form), nearest, rtol=0, atol=0)
    torch.testing.assert_close(fake_mx(x / 1024, 32, *form), nearest / 1024, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["NVFP4_DEFAULT_CFG", "MXFP8_DEFAULT_CFG"])
def test_a_model(name: str) -> None:
    mtq = pytest.importorskip("modelopt.torch.quantization", reason="nvidia-modelopt is not installed")
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(128, 64)).eval(), torch.randn(8, 128)
    weight, bias = model[0].weight.detach().clone(), model[0].bias.detach().clone()
    model = mtq.quantize(model, getattr(mtq, name), None if name.startswith("MX") else calibrate(x))

    def right(x: torch.Tensor) -> torch.Tensor:
        if name.startswith("MX"):
            return nn.functional.linear(fake_mx(x, 32, 8, 4), fake_mx(weight, 32, 8, 4), bias)
        four = fake_nvfp4(x, 16, x.abs().amax()), fake_nvfp4(weight, 16, weight.abs().amax())
        return nn.functional.linear(*four, bias)

    whole(model, [x], (x,), right, within=1e-4)


FOUR_BITS = {
    "NVFP4": lambda weight: fake_nvfp4(weight, 16, weight.abs().amax()),
    "MXFP4": lambda weight: fake_mx(weight, 32, 4, 2),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", FOUR_BITS)
def test_weights_of_four_bits_are_small_in_files(name: str, dtype: torch.dtype, tmp_path) -> None:
    """What a library quantises in each call is stored in four bits, and made floats when the model is loaded."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(512, 1024, dtype=dtype) / 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, FOUR_BITS[name](self.weight))

    torch.manual_seed(0)
    model, x = Layer(), torch.randn(3, 1024, dtype=dtype)
    compiled = whole(model, [x], (x,), within=1e-6 if dtype == torch.float32 else 2e-3)
    assert "1 of 1 products with fp4 weights" in products(compiled)
    tp.save(compiled, tmp_path / "four.pt2")
    assert (tmp_path / "four.pt2").stat().st_size <= 0.35 * 2 * model.weight.numel()
    loaded = tp.load(tmp_path / "four.pt2", executor="pytorch")
    agree(loaded, model, (x,), within=1e-6 if dtype == torch.float32 else 2e-3)


def calibrate(x: torch.Tensor):
    return lambda model: model(x)


def test_formats_without_a_rule_stay_in_pytorch() -> None:
    class Five(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            one = torch.ones(())
            return torch._scaled_mm(x, y.t(), one, one, out_dtype=torch.bfloat16).float() + 1

    x, y = torch.randn(16, 32).to(torch.float8_e5m2), torch.randn(16, 32).to(torch.float8_e4m3fn)
    compiled = tp.compile(Five(), [x, y], min_block_size=1, executor="reference")
    row = next(row for row in compiled.report.ledger if row.op == "aten._scaled_mm")
    assert row.verdict != "trt"
    torch.testing.assert_close(compiled(x, y), Five()(x, y))
