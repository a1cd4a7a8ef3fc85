"""Float8 layers of transformers, whose own kernels need a GPU and other libraries: by what these compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

from .judged import products, whole

integrations = pytest.importorskip("transformers.integrations", reason="transformers is in the extra 'test'")


def in_rows(bias: bool) -> tuple[Any, torch.Tensor]:
    """A layer of fbgemm's kind, and its weight in float32."""
    from transformers.integrations.fbgemm_fp8 import FbgemmFp8Linear

    layer, weight = FbgemmFp8Linear(256, 384, bias), torch.randn(384, 256) / 16
    scale = weight.abs().amax(1, keepdim=True) / 448
    layer.weight = nn.Parameter((weight / scale).to(torch.float8_e4m3fn), requires_grad=False)
    layer.weight_scale = nn.Parameter(scale, requires_grad=False)
    layer.input_scale_ub = torch.tensor([2.0])
    if bias:
        layer.bias = nn.Parameter(torch.randn(384), requires_grad=False)
    return layer, layer.weight.float() * scale


def in_blocks() -> tuple[Any, torch.Tensor]:
    from transformers.integrations.finegrained_fp8 import FP8Linear

    layer, scale = FP8Linear(256, 384, block_size=(128, 128), activation_scheme="dynamic"), torch.rand(3, 2) / 100
    layer.weight = nn.Parameter((torch.randn(384, 256) * 40).to(torch.float8_e4m3fn), requires_grad=False)
    layer.weight_scale_inv = nn.Parameter(scale, requires_grad=False)
    return layer, layer.weight.float() * scale.repeat_interleave(128, 0).repeat_interleave(128, 1)


def rounded(x: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    step = largest / 448
    return (x / step).clamp(-448, 448).to(torch.float8_e4m3fn).float() * step


@pytest.mark.parametrize("bias", [False, True])
def test_rows_of_fbgemm(bias: bool) -> None:
    torch.manual_seed(0)
    (layer, weight), x = in_rows(bias), torch.randn(8, 256)

    def right(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(rounded(x, x.abs().amax(-1, keepdim=True).clamp(max=2)), weight, layer.bias)

    compiled = whole(nn.Sequential(layer).eval(), [x], (x,), right, within=1e-3)
    assert "1 of 1 products in fp8" in products(compiled)


def test_blocks() -> None:
    torch.manual_seed(0)
    (layer, weight), x = in_blocks(), torch.randn(2, 5, 256)

    def right(x: torch.Tensor) -> torch.Tensor:
        parts = x.unflatten(-1, (2, 128))
        return nn.functional.linear(rounded(parts, parts.abs().amax(-1, keepdim=True)).flatten(-2), weight)

    compiled = whole(nn.Sequential(layer).eval(), [x], (x,), right, within=1e-3)
    assert "1 of 1 products" in products(compiled)


def test_what_is_quantised_otherwise_is_refused() -> None:
    layer, _ = in_blocks()
    layer.activation_scheme = "static"
    with pytest.raises(tp.UserError):
        tp.compile(nn.Sequential(layer).eval(), [torch.randn(8, 256)], min_block_size=1)
