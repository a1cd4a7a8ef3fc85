"""Convolutions whose windows lie side by side: one product of the image's patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...compiler.call import Call
from ...compiler.symbols import Dim
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.tensor import Tensor
from .linear import bias_of, product

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

_HALVES = frozenset({torch.float16, torch.bfloat16})


def embeds_patches(ctx: ConverterContext, call: Call) -> bool:
    """Whether a convolution is better one product: of halves, in two dimensions, with windows side by side.

    Where the number of channels is a multiple of 8, TensorRT-RTX's convolutions are as fast. With the three of an
    image, that of ViT-B/16 took 133 us for 8 images on an H200, and the product with its move 13. Those of EfficientNet
    with 4 to 28 channels and one pixel took 12 us each, and products 2.
    """
    x, weight = call.value("input"), ctx.constant_value(call.arg("weight"))
    return (
        weight is not None
        and weight.dim() == x.dim() == 4
        and x.dtype in _HALVES
        and weight.shape[1] % 8 != 0
        and not call.value("transposed")
        and call.value("groups") == 1
        and _steps(call, "stride") == tuple(weight.shape[2:])
        and _steps(call, "dilation") == (1, 1)
        and _steps(call, "padding") == (0, 0)
        and all(
            isinstance(size, int) and size % step == 0 for size, step in zip(x.shape[2:], weight.shape[2:], strict=True)
        )
    )


def _steps(call: Call, name: str) -> tuple[int, ...]:
    values = tuple(int(value) for value in call.value(name))
    return values * 2 if len(values) == 1 else values


def patch_embedding(ctx: ConverterContext, call: Call, x: Tensor, out: Sequence[Dim]) -> Tensor:
    """The convolution of `x`, [batch, channels, height, width], as a product."""
    kernel = ctx.constant_value(call.arg("weight"))
    assert kernel is not None
    maps, channels, height, width = kernel.shape
    batch, _, rows, columns = out
    x = shapes.reshape(ctx, x, (batch, channels, rows, height, columns, width), "patches")
    x = shapes.permute(ctx, x, (0, 2, 4, 1, 3, 5), "patches")
    x = shapes.reshape(ctx, x, (batch, int(rows) * int(columns), channels * height * width), "patches")
    weight = ctx.constant(kernel.reshape(1, maps, -1).transpose(1, 2).contiguous(), "kernel")
    result = product(ctx, x, weight, role="product")
    bias = shapes.operand_with_rank(ctx, bias_of(ctx, call.arg("bias")), 3)
    if bias is not None:
        result = ar.elementwise(ctx, "SUM", result, bias, "biased")
    return shapes.reshape(ctx, shapes.swap(ctx, result, 1, 2, "maps"), out, "maps")
