"""Quantising in the reference executor, against what torchao's and our own emulation of modelopt compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from trt_passes.compiler.tensorrt import dtypes
from trt_passes.passes.decompose.quantized_blocks import fake_mx, fake_nvfp4

F32 = torch.float32
TORCHAO = "torchao is in the extra 'quantisation'"


def given(rows: int = 6) -> torch.Tensor:
    """Numbers of many sizes, with ties, zeros, and one block of nothing but zeros."""
    torch.manual_seed(0)
    x = torch.randn(rows, 64) * torch.logspace(-3, 3, rows)[:, None]
    x[0, :32] = 0
    x[1, :32] = torch.linspace(-448, 448, 32) / 64
    x[2, :8] = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0])
    return x


def mxfp8(net: Any, x: torch.Tensor) -> torch.Tensor:
    types = net.module.DataType
    layer = net.network.add_dynamic_quantize(net.input("x", F32, tuple(x.shape)), 1, 32, types.FP8, types.E8M0)
    net.output(net.network.add_dequantize(layer.get_output(0), layer.get_output(1), types.FLOAT).get_output(0))
    return net.result(x=x)


def nvfp4(net: Any, x: torch.Tensor, second: float) -> torch.Tensor:
    types = net.module.DataType
    layer = net.network.add_dynamic_quantize(net.input("x", F32, tuple(x.shape)), 1, 16, types.FP4, types.FP8)
    whole = net.constant(np.array(second, dtype=np.float32))
    layer.set_input(1, whole)
    scales = net.network.add_dequantize(layer.get_output(1), whole, types.FLOAT).get_output(0)
    net.output(net.network.add_dequantize(layer.get_output(0), scales, types.FLOAT).get_output(0))
    return net.result(x=x)


def test_blocks_of_float8(net: Any) -> None:
    x = given()
    torch.testing.assert_close(mxfp8(net, x), fake_mx(x, 32, 8, 4), rtol=0, atol=0)


def test_blocks_of_float8_are_those_of_torchao(net: Any) -> None:
    mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor", reason=TORCHAO)
    x = given()
    scale, data = mx.to_mx(x, torch.float8_e4m3fn, 32, mx.ScaleCalculationMode.CEIL)
    right = (data.float().reshape(6, 2, 32) * scale.float().reshape(6, 2, 1)).reshape(6, 64)
    torch.testing.assert_close(mxfp8(net, x), right, rtol=0, atol=0)


def test_blocks_of_four_bits(net: Any) -> None:
    x = given()
    amax = x.abs().amax()
    torch.testing.assert_close(nvfp4(net, x, float(amax) / (448 * 6)), fake_nvfp4(x, 16, amax), rtol=1e-5, atol=1e-6)


def test_blocks_of_four_bits_are_those_of_torchao(net: Any) -> None:
    four = pytest.importorskip("torchao.prototype.mx_formats.nvfp4_tensor", reason=TORCHAO)
    torch.manual_seed(0)
    x = torch.randn(6, 64)  # torchao has no scales of 0, which small numbers beside large ones get
    second = x.abs().amax() / (448 * 6)
    scales, packed = four.nvfp4_quantize(x, 16, second)
    digits = torch.stack([packed.view(torch.uint8) & 15, packed.view(torch.uint8) >> 4], -1).reshape(x.shape).long()
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])[digits & 7] * (1 - 2 * (digits >> 3))
    right = (values.reshape(-1, 4, 16) * scales.float().reshape(-1, 4, 1) * second).reshape(x.shape)
    found = nvfp4(net, x, float(second))
    differ = (found - right).abs() > 1e-5 * right.abs() + 1e-9
    assert float(differ.float().mean()) < 0.01  # where a tie falls is a matter of the last bit
    assert float((found - right).norm() / right.norm()) < 1e-2


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_ties_are_even_and_what_is_large_saturates(net: Any, dtype: torch.dtype) -> None:
    library = pytest.importorskip("torchao.quantization.quant_primitives", reason=TORCHAO)
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 500.0, -128.5, -500.0, 17.0, 19.0])
    kind = dtypes.to_trt(net.module, dtype)
    one = net.constant(np.array(1, dtype=np.float32))
    data = net.network.add_quantize(net.input("x", F32, (12,)), one, kind).get_output(0)
    net.output(net.network.add_dequantize(data, one, net.module.DataType.FLOAT).get_output(0))
    if dtype == torch.int8:
        right = library.quantize_affine(x, (12,), torch.ones(1), torch.zeros(1).int(), dtype, -128, 127).float()
    else:
        right = library._quantize_affine_float8(x, torch.ones(()), dtype).float()
    torch.testing.assert_close(net.result(x=x), right, rtol=0, atol=0)
