"""Engines with quantised weights and products compute on a GPU what their networks say."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.operators import DEQUANTIZE, QUANTIZE
from trt_passes.compiler.ir.quantized_operators import INT4_RANGE

from tests.marks import GPU

pytestmark = GPU


class Product(nn.Module):
    """linear(x) with a weight in few bits, x quantised by constants ("static"), per row ("dynamic"), or not ("")."""

    def __init__(self, kind: str, inputs: str, dtype: torch.dtype, rows: int = 384, columns: int = 256) -> None:
        super().__init__()
        torch.manual_seed(0)
        weight = torch.randn(rows, columns) / columns**0.5
        limits = {"int8": (-128, 127), "int4": INT4_RANGE, "fp8": (-448, 448)}[kind]
        blocks = 64 if kind == "int4" else columns
        scale = weight.view(rows, -1, blocks).abs().amax(2) / limits[1]
        kept = torch.float8_e4m3fn if kind == "fp8" else torch.int8
        self.register_buffer("q", QUANTIZE(weight, scale, None, *limits, kept))
        self.register_buffer("s", scale)
        self.register_buffer("step", torch.tensor(4.0 / limits[1]))
        self.inputs, self.dtype, self.limit = inputs, dtype, limits[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.inputs:
            step = self.step
            if self.inputs == "dynamic":
                step = x.float().abs().amax(-1, keepdim=True) / self.limit
            x = DEQUANTIZE(QUANTIZE(x, step, None, -128, 127, self.q.dtype), step, None, self.dtype)
        return nn.functional.linear(x, DEQUANTIZE(self.q, self.s, None, self.dtype))


FORMS = [("int8", ""), ("int8", "static"), ("int8", "dynamic"), ("int4", "")]
FORMS += [("fp8", ""), ("fp8", "static"), ("fp8", "dynamic")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 256), (40, 256), (2, 7, 256)])
@pytest.mark.parametrize(("kind", "inputs"), FORMS)
def test_products(kind: str, inputs: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    model = Product(kind, inputs, dtype).cuda()
    x = torch.randn(shape, device="cuda").to(dtype)
    compiled = tp.compile(model, [x], min_block_size=1, executor="tensorrt", strict=True)
    assert compiled.report.coverage == 1
    right, found = model(x).float(), compiled(x).float()
    assert (found - right).norm() <= 2e-2 * right.norm()


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8])
def test_rounding(dtype: torch.dtype) -> None:
    """To even and saturating, over all that a half can be."""
    model = nn.Module()
    model.register_buffer("step", torch.tensor(0.5))
    model.forward = lambda x: DEQUANTIZE(QUANTIZE(x, model.step, None, -128, 127, dtype), model.step, None, x.dtype)
    x = torch.arange(-(2**15), 2**15, dtype=torch.int16, device="cuda").view(torch.float16)
    x = x[x.isfinite()]
    compiled = tp.compile(model.cuda(), [x], min_block_size=1, executor="tensorrt")
    assert torch.equal(compiled(x), model(x))


def test_a_float8_convolution() -> None:
    torch.manual_seed(0)
    weight = torch.randn(32, 16, 3, 3) / 12
    model = nn.Module()
    scale = weight.abs().amax((1, 2, 3), keepdim=True) / 448
    model.register_buffer("q", QUANTIZE(weight, scale, None, -448, 448, torch.float8_e4m3fn))
    model.register_buffer("s", scale)
    model.register_buffer("step", torch.tensor(4.0 / 448))

    def forward(x: torch.Tensor) -> torch.Tensor:
        x = DEQUANTIZE(QUANTIZE(x, model.step, None, -448, 448, model.q.dtype), model.step, None, x.dtype)
        return nn.functional.conv2d(x, DEQUANTIZE(model.q, model.s, None, x.dtype), padding=1)

    model.forward = forward
    x = torch.randn(2, 16, 12, 12, device="cuda").half()
    compiled = tp.compile(model.cuda(), [x], min_block_size=1, executor="tensorrt")
    right, found = model(x).float(), compiled(x).float()
    assert (found - right).norm() <= 2e-2 * right.norm()
