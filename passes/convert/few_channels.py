"""Convolutions of few channels, such as those of an image, in forms that TensorRT has faster kernels for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch.fx import Node

from ...compiler.ir.call import Call
from ...compiler.ir.dtypes import HALVES
from ...compiler.ir.symbols import Dim
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import IsConstant
from ...compiler.tensorrt.tensor import Tensor
from .linear import bias_of, product
from .per_axis import per_axis

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

MANY_CHANNELS = 2048
"""Channels from which on a product of them is taken without having been tried."""

MANY_PIXELS = 64
"""Pixels from which on a product of channels is worth it."""

_SMOOTH = frozenset({"sigmoid", "silu", "gelu", "tanh", "exp", "erf", "mish", "softplus", "elu", "selu", "celu"})
_NEAR = 32  # nodes that are looked at in each step

STEPS = 4
"""How far neighbours of a convolution of single pixels are looked at."""

LARGE = 25
"""Elements of a window from which on its blocks are worth moving; with 9 that took 4 us longer than it saved."""


def _has_few_channels(call: Call, is_constant: IsConstant) -> bool:
    """Whether a convolution of halves in two dimensions has channels for which TensorRT-RTX has no fast kernel.

    It has fast kernels for multiples of 8 channels. On an H200 the first convolution of ViT-B/16 took 138 us for 8
    images and the product of its patches 13, that of ResNet-50 464 us for 32 images and of its blocks 138, all with
    their moves. Those of EfficientNet with 4 to 28 channels and one pixel took 12 us each, and products 2.
    """
    few = call.value("weight").shape[1] % 8 != 0
    return few and call.value("input").dtype in HALVES and _is_plain_image(call, is_constant)


def _is_plain_image(call: Call, is_constant: IsConstant) -> bool:
    """Whether a convolution is one of images of a static size, with a constant kernel, no groups and no dilation."""
    x, weight = call.value("input"), call.value("weight")
    return (
        is_constant(call.arg("weight"))
        and weight.dim() == x.dim() == 4
        and all(isinstance(size, int) for size in x.shape[2:])
        and not call.value("transposed")
        and call.value("groups") == 1
        and _pair(call, "dilation") == (1, 1)
    )


def _are_patches(call: Call) -> bool:
    """Whether the windows lie side by side, and fill the image."""
    window = tuple(call.value("weight").shape[2:])
    whole = all(size % step == 0 for size, step in zip(call.value("input").shape[2:], window, strict=True))
    return window == _pair(call, "stride") and whole and _pair(call, "padding") == (0, 0)


def has_patches(call: Call, is_constant: IsConstant) -> bool:
    """Whether a convolution of halves of few channels is a product of patches."""
    return _has_few_channels(call, is_constant) and _are_patches(call)


def has_pixels(call: Call, is_constant: IsConstant) -> bool:
    """Whether a convolution reads single pixels, so that it is a product."""
    return _is_plain_image(call, is_constant) and call.value("weight").shape[2:] == (1, 1) and _are_patches(call)


def is_better_as_rows(call: Call) -> bool:
    """Whether a convolution of single pixels is faster as a product of its channels as they lie.

    On an H200 the products took 0.28 to 0.69 of the layer's time for 4 shapes of halves, and 1.02 for one of 7 x 7
    pixels, between arithmetic; of 3072 channels 585 us instead of 2057. TensorRT-RTX had no kernel for one of the
    products of an UNet, of 320 to 1280 channels, so that only many channels are taken without a tuning, which tries
    them. Beside convolutions with larger windows, which want channels last, there would be moves.
    """
    x, weight = call.value("input"), call.value("weight")
    pixels = int(x.shape[2]) * int(x.shape[3])
    if weight.shape[1] < MANY_CHANNELS:
        return False
    aligned = weight.shape[0] % 8 == 0 and weight.shape[1] % 8 == 0 and pixels % 8 == 0
    return x.dtype is torch.float16 and aligned and pixels >= MANY_PIXELS and not _beside_windows(call.node)


def _beside_windows(node: Node) -> bool:
    """Whether a convolution or pooling with larger windows is near, with no more than arithmetic between."""
    seen, border = {node}, [node]
    for _ in range(STEPS):
        near = {other for item in border for other in (*item.all_input_nodes, *item.users)} - seen
        if any(_has_window(other) for other in near):
            return True
        seen |= near
        border = [other for other in near if torch.Tag.pointwise in getattr(other.target, "tags", ())]
    return False


def follows_smooth_windows(node: Node) -> bool:
    """Whether a convolution reads another one with larger windows through a smooth function such as SiLU or GELU.

    Two such convolutions in float32 were wrong on an H200: the stem of MaxViT by 670 %, EfficientNet-B0 gave NaN. With
    ReLU or hard swish between, or normalisations, they were right.
    """
    border = [(item, False) for item in node.all_input_nodes[:1]]
    for _ in range(2 * STEPS):
        following = []
        for item, smooth in border:
            if _has_window(item) and item.target is torch.ops.aten.convolution.default:
                if smooth:
                    return True
                continue
            if torch.Tag.pointwise in getattr(item.target, "tags", ()):
                is_smooth = str(item.target).split(".")[1] in _SMOOTH
                following += [(source, smooth or is_smooth) for source in item.all_input_nodes]
        border = following[:_NEAR]
    return False


def _has_window(node: Node) -> bool:
    name = str(node.target)
    if "pool" in name:
        return True
    if node.target is not torch.ops.aten.convolution.default:
        return False
    weight = node.args[1].meta.get("val") if isinstance(node.args[1], Node) else None
    return weight is None or any(size != 1 for size in weight.shape[2:])


def has_blocks(call: Call, is_constant: IsConstant) -> bool:
    """Whether a convolution of halves of few channels has large windows that overlap, at steps of several pixels."""
    if not _has_few_channels(call, is_constant):
        return False
    window, steps = tuple(call.value("weight").shape[2:]), _pair(call, "stride")
    overlaps = all(size > step > 1 for size, step in zip(window, steps, strict=True))
    return overlaps and window[0] * window[1] >= LARGE


def _pair(call: Call, name: str) -> tuple[int, ...]:
    return per_axis(map(int, call.value(name)), spatial=2)


def _weight(ctx: ConverterContext, call: Call) -> torch.Tensor:
    weight = ctx.constant_value(call.arg("weight"))
    assert weight is not None
    return weight


def of_patches(ctx: ConverterContext, call: Call, x: Tensor, out: Sequence[Dim]) -> Tensor:
    """Windows that lie side by side: one product of the patches of the image."""
    kernel = _weight(ctx, call)
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


def of_rows(ctx: ConverterContext, call: Call, x: Tensor, out: Sequence[Dim]) -> Tensor:
    """Windows of one pixel: a product of the kernel and the channels of every image, which stay where they are."""
    kernel = _weight(ctx, call)
    batch, maps, rows, columns = out
    x = shapes.reshape(ctx, x, (batch, kernel.shape[1], int(rows) * int(columns)), "channels")
    weight = ctx.constant(kernel.reshape(1, int(maps), -1), "kernel")
    result = product(ctx, weight, x, role="product")
    bias = bias_of(ctx, call.arg("bias"))
    if bias is not None:
        bias = shapes.reshape(ctx, ctx.tensor(bias), (1, int(maps), 1), "bias")
        result = ar.elementwise(ctx, "SUM", result, bias, "biased")
    return shapes.reshape(ctx, result, out, "maps")


def of_blocks(ctx: ConverterContext, call: Call, x: Tensor, out: Sequence[Dim]) -> Tensor:
    """Windows that overlap: blocks as large as the steps between them become channels, and the windows fewer pixels.

    The window gets zeros after it up to whole blocks, and the channels up to a multiple of 8.
    """
    kernel, steps, padding = _weight(ctx, call), _pair(call, "stride"), _pair(call, "padding")
    channels, maps = kernel.shape[1], kernel.shape[0]
    window = [-(-size // step) for size, step in zip(kernel.shape[2:], steps, strict=True)]
    grid = [int(size) - 1 + blocks for size, blocks in zip(out[2:], window, strict=True)]
    after = [
        blocks * step - int(size) - before
        for blocks, step, size, before in zip(grid, steps, x.shape[2:], padding, strict=True)
    ]
    x = shapes.pad(ctx, x, (0, 0, *padding), (0, 0, *after), role="padded")
    x = shapes.reshape(ctx, x, (x.shape[0], channels, grid[0], steps[0], grid[1], steps[1]), "blocks")
    x = shapes.permute(ctx, x, (0, 3, 5, 1, 2, 4), "blocks")
    deep = steps[0] * steps[1] * channels
    x = shapes.reshape(ctx, x, (x.shape[0], deep, *grid), "blocks")
    x = shapes.pad(ctx, x, (0, 0, 0, 0), (0, -deep % 8, 0, 0), role="filled")
    spare = [blocks * step - size for blocks, step, size in zip(window, steps, kernel.shape[2:], strict=True)]
    kernel = F.pad(kernel, (0, spare[1], 0, spare[0]))
    kernel = kernel.reshape(maps, channels, window[0], steps[0], window[1], steps[1]).permute(0, 3, 5, 1, 2, 4)
    weight = ctx.constant(F.pad(kernel.reshape(maps, deep, *window), (0, 0, 0, 0, 0, -deep % 8)), "kernel")
    layer = ctx.network.add_convolution_nd(x.trt, maps, tuple(window), ctx.trt.Weights(ctx.data_type(x.dtype)))
    layer.set_input(1, weight.trt)
    bias = ctx.optional(bias_of(ctx, call.arg("bias")))
    if bias is not None:
        layer.set_input(2, bias.trt)
    return ctx.emit(layer, out)
