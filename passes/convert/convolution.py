"""Convolutions and transposed convolutions of one to three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.dtypes import HALVES
from ...compiler.ir.symbols import Dim, at_least, dims_of
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.in_float32 import in_float32
from ...compiler.tensorrt.registry import Family, IsConstant
from ...compiler.tensorrt.tensor import Tensor
from .conditions import FLOATS, dtype_of, rank_of, static_dims
from .few_channels import (
    follows_smooth_windows,
    has_blocks,
    has_patches,
    has_pixels,
    is_better_as_rows,
    of_blocks,
    of_patches,
    of_rows,
)
from .linear import bias_of
from .per_axis import per_axis

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("convolution")


@FAMILY.variant("patches-as-product", has_patches, exact=True)
def _patches(ctx: ConverterContext, call: Call) -> Tensor:
    """A convolution of halves of few channels whose windows lie side by side: one product of the patches."""
    return of_patches(ctx, call, ctx.tensor(call.arg("input")), dims_of(call.out.shape))


@FAMILY.variant("blocks-of-pixels", has_blocks)
def _blocks(ctx: ConverterContext, call: Call) -> Tensor:
    """A convolution of halves of few channels with large windows at steps: one of blocks of pixels as channels."""
    return of_blocks(ctx, call, ctx.tensor(call.arg("input")), dims_of(call.out.shape))


@FAMILY.variant("channels-as-rows", has_pixels, default=is_better_as_rows, exact=True)
def _rows(ctx: ConverterContext, call: Call) -> Tensor:
    """A convolution of single pixels: a product of the kernel and the channels as they lie, sums in float32."""
    return of_rows(ctx, call, ctx.tensor(call.arg("input")), dims_of(call.out.shape))


@FAMILY.variant("pixels-as-product", has_pixels, default=False, exact=True)
def _pixels(ctx: ConverterContext, call: Call) -> Tensor:
    """A convolution of single pixels: a product, which adds up halves in float32."""
    return of_patches(ctx, call, ctx.tensor(call.arg("input")), dims_of(call.out.shape))


def _is_of_halves(call: Call, is_constant: IsConstant) -> bool:
    return call.value("input").dtype in HALVES and not follows_smooth_windows(call.node)


@FAMILY.variant("in-float32", _is_of_halves, default=False, exact=True)
def _in_float32(ctx: ConverterContext, call: Call) -> Tensor:
    """A convolution of halves in float32, between casts: TensorRT-RTX adds up convolutions of halves in halves."""
    result = in_float32(convolution)(ctx, call)
    assert isinstance(result, Tensor)
    return result


@FAMILY.converter(
    aten.convolution.default,
    variant="layer",
    conditions=[
        dtype_of("input", FLOATS),
        rank_of("weight", 3, 5),
        static_dims("weight", lambda call: range(call.value("weight").dim()), "all dimensions"),
        static_dims(
            "input", lambda call: [call.value("input").dim() - call.value("weight").dim() + 1], "the channel dimension"
        ),
    ],
)
def convolution(ctx: ConverterContext, call: Call) -> Tensor:
    """TensorRT's layer; a convolution in one dimension as one of two, of which the first has size 1."""
    x, weight = ctx.tensor(call.arg("input")), _kernel(ctx, call)
    spatial = weight.rank - 2
    flat = call.value("weight").dim() == 3
    transposed = call.value("transposed")
    # TensorRT-RTX has no bf16 deconvolution.
    dtype = torch.float32 if transposed and x.dtype == torch.bfloat16 else x.dtype
    out: list[Dim] = list(dims_of(call.out.shape))
    if flat:
        x = shapes.unsqueeze(ctx, x, -2, "rows")
        out.insert(-1, 1)
    if x.rank == spatial + 1:
        x = shapes.unsqueeze(ctx, x, 0, "batch")
        out.insert(0, 1)
    x, weight = ar.cast(ctx, x, dtype), ar.cast(ctx, weight, dtype)
    convert = _transposed if transposed else _plain
    result = convert(ctx, call, x, weight, out)
    return shapes.reshape(ctx, ar.cast(ctx, result, call.out.dtype), dims_of(call.out.shape), "shape")


def _kernel(ctx: ConverterContext, call: Call) -> Tensor:
    weight = ctx.constant_value(call.arg("weight"))
    if weight is not None and weight.dim() == 3:
        return ctx.constant(weight.unsqueeze(2), "kernel")
    kernel = ctx.tensor(call.arg("weight"))
    return shapes.unsqueeze(ctx, kernel, 2, "kernel") if kernel.rank == 3 else kernel


def _per_axis(call: Call, name: str, spatial: int, extra: int) -> tuple[int, ...]:
    """A list argument for every spatial dimension, `extra` for the one that a 1-d convolution gets."""
    wanted = call.value("weight").dim() - 2
    return (*([extra] * (spatial - wanted)), *per_axis(map(int, call.value(name)), wanted))


def _plain(ctx: ConverterContext, call: Call, x: Tensor, weight: Tensor, out: Sequence[Dim]) -> Tensor:
    spatial = weight.rank - 2
    kernel = tuple(int(size) for size in weight.shape[2:])
    padding = _per_axis(call, "padding", spatial, 0)
    if any(size and not at_least(dim, 1, ctx.sizes.ranges) for size, dim in zip(padding, x.shape[2:], strict=True)):
        # TensorRT's layer takes no dimension of 0, not even with padding.
        x, padding = shapes.pad(ctx, x, (0, 0, *padding), (0, 0, *padding), role="padded"), (0,) * spatial
    empty = ctx.trt.Weights(ctx.data_type(x.dtype))
    layer = ctx.network.add_convolution_nd(x.trt, int(weight.shape[0]), kernel, empty, empty)
    steps = (_per_axis(call, name, spatial, 1) for name in ("stride", "dilation"))
    _configure(call, layer, weight, *steps)
    layer.padding_nd = padding
    _set_bias(ctx, call, layer, x.dtype)
    return ctx.emit(layer, out)


def _transposed(ctx: ConverterContext, call: Call, x: Tensor, weight: Tensor, out: Sequence[Dim]) -> Tensor:
    spatial = weight.rank - 2
    dilation = _per_axis(call, "dilation", spatial, 1)
    if any(step > 1 for step in dilation) and any(step > 1 for step in _per_axis(call, "stride", spatial, 1)):
        # TensorRT builds no deconvolution that is both strided and dilated.
        weight, dilation = _dilated(ctx, weight, dilation), (1,) * spatial
    padding = _per_axis(call, "padding", spatial, 0)
    extra = _per_axis(call, "output_padding", spatial, 0)
    strides = _per_axis(call, "stride", spatial, 1)
    # Of one element, every stride makes the same.
    strides = tuple(1 if size == 1 else step for size, step in zip(x.shape[2:], strides, strict=True))
    beyond = [max(more - pad, 0) for pad, more in zip(padding, extra, strict=True)]
    if any(
        step > 1 and not at_least(size - more, step, ctx.sizes.ranges)
        for size, more, step in zip(out[2:], beyond, strides, strict=True)
    ):
        return _cut(ctx, call, x, weight, out, strides, dilation)
    layer = _deconvolution(ctx, call, x, weight, strides, dilation)
    layer.pre_padding = padding
    layer.post_padding = tuple(max(pad - more, 0) for pad, more in zip(padding, extra, strict=True))
    if not any(beyond):
        _set_bias(ctx, call, layer, x.dtype)
        return ctx.emit(layer, out)
    # Output padding beyond the last window: only the bias is there.
    inner = (*out[:2], *(size - more for size, more in zip(out[2:], beyond, strict=True)))
    result = ctx.emit(layer, inner)
    result = shapes.pad(ctx, result, [0] * result.rank, [0, 0, *beyond], role="output_padding")
    bias = ctx.optional(bias_of(ctx, call.arg("bias")))
    if bias is None:
        return result
    column = shapes.reshape(ctx, ar.cast(ctx, bias, x.dtype), (1, out[1], *[1] * spatial), "bias")
    return ar.elementwise(ctx, "SUM", result, column, "biased")


def _deconvolution(
    ctx: ConverterContext, call: Call, x: Tensor, weight: Tensor, strides: Sequence[int], dilation: Sequence[int]
) -> Any:
    maps, *kernel = (int(size) for size in weight.shape[1:])
    empty = ctx.trt.Weights(ctx.data_type(x.dtype))
    layer = ctx.network.add_deconvolution_nd(x.trt, maps * call.value("groups"), tuple(kernel), empty, empty)
    _configure(call, layer, weight, strides, dilation)
    return layer


def _cut(
    ctx: ConverterContext,
    call: Call,
    x: Tensor,
    weight: Tensor,
    out: Sequence[Dim],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """A transposed convolution without padding, of which the result is a part.

    TensorRT-RTX 1.6 builds one whose result may be shorter than a stride, as of a single element, and then cannot run
    it: cuDNN has no kernel. Zeros after the kernel make the result longer.
    """
    spatial = weight.rank - 2
    padding = _per_axis(call, "padding", spatial, 0)
    extra = _per_axis(call, "output_padding", spatial, 0)
    windows = [step * (int(size) - 1) + 1 for size, step in zip(weight.shape[2:], dilation, strict=True)]
    lengths = [
        max(window, window + more - pad, step)
        for window, pad, more, step in zip(windows, padding, extra, strides, strict=True)
    ]
    if any(length > window for length, window in zip(lengths, windows, strict=True)):
        weight, dilation = _dilated(ctx, weight, dilation), (1,) * spatial
        after = [0, 0, *(length - window for length, window in zip(lengths, windows, strict=True))]
        weight = shapes.pad(ctx, weight, [0] * weight.rank, after, role="longer")
    layer = _deconvolution(ctx, call, x, weight, strides, dilation)
    _set_bias(ctx, call, layer, x.dtype)
    whole = [(size - 1) * step + length for size, step, length in zip(x.shape[2:], strides, lengths, strict=True)]
    result = ctx.emit(layer, (*out[:2], *whole), "whole")
    for axis, (pad, size) in enumerate(zip(padding, out[2:], strict=True), start=2):
        result = shapes.slice_axis(ctx, result, axis, pad, size, role="cut")
    return result


def _dilated(ctx: ConverterContext, weight: Tensor, dilation: Sequence[int]) -> Tensor:
    """A kernel with `dilation` - 1 zeros between its elements along each spatial dimension."""
    for axis, step in enumerate(dilation, start=2):
        size = int(weight.shape[axis])
        if step == 1 or size == 1:
            continue
        column = shapes.unsqueeze(ctx, weight, axis + 1, "column")
        after = [step - 1 if dim == axis + 1 else 0 for dim in range(column.rank)]
        spread = shapes.pad(ctx, column, [0] * column.rank, after, role="spread")
        weight = shapes.flatten(ctx, spread, axis, axis + 1, "spread")
        weight = shapes.slice_axis(ctx, weight, axis, 0, (size - 1) * step + 1, role="dilated")
    return weight


def _configure(call: Call, layer: Any, weight: Tensor, strides: Sequence[int], dilation: Sequence[int]) -> None:
    layer.set_input(1, weight.trt)
    layer.stride_nd, layer.dilation_nd = strides, dilation
    layer.num_groups = call.value("groups")


def _set_bias(ctx: ConverterContext, call: Call, layer: Any, dtype: torch.dtype) -> None:
    bias = ctx.optional(bias_of(ctx, call.arg("bias")))
    if bias is not None:
        layer.set_input(2, ar.cast(ctx, bias, dtype, "bias").trt)
