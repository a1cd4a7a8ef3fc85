"""Pooling over windows and to given sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...compiler.call import Call
from ...compiler.symbols import Dim, dims_of
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.tensor import Tensor
from .conditions import FLOATS, dtype_of, only_results, static_dims, value_is
from .linear import product
from .registry import Condition, Family

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("pooling")


def _spatial(target: Any) -> int:
    return int(target._schema.name[target._schema.name.index("pool") + 4])


def _spatial_dims(call: Call) -> range:
    return range(-_spatial(call.target), 0)


def _ceil_mode(call: Call) -> str | None:
    x = call.value("self")
    dynamic = [dim for dim in _spatial_dims(call) if not isinstance(x.shape[dim], int)]
    if not call.value("ceil_mode") or not dynamic:
        return None
    return f"{call.op}: ceil_mode is set and dimension {dynamic[0]} is dynamic, so the last window is unknown"


_CEIL_MODE = Condition("TP203", "with `ceil_mode`, the pooled dimensions must be static", _ceil_mode)


@FAMILY.converter(
    aten.max_pool2d_with_indices.default,
    aten.max_pool3d_with_indices.default,
    conditions=[
        dtype_of("self", FLOATS),
        only_results(0, "the places of the maxima"),
        value_is("dilation", lambda values: all(value == 1 for value in values), "1 in every dimension"),
        _CEIL_MODE,
    ],
)
def max_pool(ctx: ConverterContext, call: Call) -> tuple[Tensor, None]:
    """The greatest element of each window."""
    x, out = _batched(ctx, call, call.out[0])
    spatial = _spatial(call.target)
    kernel, stride = _windows(call, spatial)
    padding = _per_axis(call.value("padding"), spatial)
    layer = ctx.network.add_pooling_nd(x.trt, ctx.trt.PoolingType.MAX, kernel)
    layer.stride_nd = stride
    layer.pre_padding = padding
    layer.post_padding = _post_padding(x, out, kernel, stride, padding)
    return shapes.reshape(ctx, ctx.emit(layer, out), dims_of(call.out[0].shape), "shape"), None


@FAMILY.converter(
    aten.avg_pool1d.default,
    aten.avg_pool2d.default,
    aten.avg_pool3d.default,
    conditions=[dtype_of("self", FLOATS), _CEIL_MODE],
    composite=True,
)
def avg_pool(ctx: ConverterContext, call: Call) -> Tensor:
    """The mean of each window."""
    x, out = _batched(ctx, call, call.out)
    spatial = _spatial(call.target)
    kernel, stride = _windows(call, spatial)
    padding = _per_axis(call.value("padding"), spatial)
    if spatial == 1:
        x, out = shapes.unsqueeze(ctx, x, -2, "rows"), (*out[:-1], 1, out[-1])
        kernel, stride, padding = (1, *kernel), (1, *stride), (0, *padding)
    result = _average(ctx, call, x, out, (kernel, stride, padding))
    return shapes.reshape(ctx, result, dims_of(call.out.shape), "shape")


def _average(
    ctx: ConverterContext, call: Call, x: Tensor, out: Sequence[Dim], windows: tuple[tuple[int, ...], ...]
) -> Tensor:
    kernel, stride, padding = windows
    divisor = call.args.get("divisor_override")
    if call.value("count_include_pad") and divisor is None and any(padding):
        # Zeros of the padding count, those of an incomplete last window do not.
        around = [0, 0, *padding]
        x = shapes.pad(ctx, x, around, around, role="pad")
        padding = (0,) * len(padding)
    layer = ctx.network.add_pooling_nd(x.trt, ctx.trt.PoolingType.AVERAGE, kernel)
    layer.stride_nd = stride
    layer.pre_padding = padding
    layer.post_padding = _post_padding(x, out, kernel, stride, padding)
    layer.average_count_excludes_padding = divisor is None
    result = ctx.emit(layer, out)
    if divisor is None:
        return result
    area = torch.Size(kernel).numel()
    return ar.multiply(ctx, result, area / divisor, "divisor")


def _batched(ctx: ConverterContext, call: Call, out: torch.Tensor) -> tuple[Tensor, tuple[Dim, ...]]:
    x, shape = ctx.tensor(call.arg("self")), dims_of(out.shape)
    if x.rank == _spatial(call.target) + 1:
        return shapes.unsqueeze(ctx, x, 0, "batch"), (1, *shape)
    return x, shape


def _per_axis(values: Any, spatial: int) -> tuple[int, ...]:
    values = [values] if isinstance(values, int) else list(values)
    return tuple(values * spatial if len(values) == 1 else values)


def _windows(call: Call, spatial: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    kernel = _per_axis(call.value("kernel_size"), spatial)
    stride = call.value("stride")
    return kernel, _per_axis(stride, spatial) if stride else kernel


def _post_padding(
    x: Tensor, out: Sequence[Dim], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> tuple[int, ...]:
    """What must follow the last element so that the last window is complete; with ceil_mode more than the padding."""
    result = []
    for index, pad in enumerate(padding):
        size, count = x.shape[index - len(padding)], out[index - len(padding)]
        if isinstance(size, int) and isinstance(count, int):
            pad = max(pad, (count - 1) * stride[index] + kernel[index] - size - pad)
        result.append(pad)
    return tuple(result)


# --- to given sizes --------------------------------------------------------------------------------------------------
def _adaptive_dims(call: Call) -> list[int]:
    sizes = call.value("output_size")
    return [index - len(sizes) for index, size in enumerate(sizes) if size != 1]


@FAMILY.converter(
    aten._adaptive_avg_pool2d.default,
    aten._adaptive_avg_pool3d.default,
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
    aten.adaptive_avg_pool3d.default,
    conditions=[dtype_of("self", FLOATS), static_dims("self", _adaptive_dims, "dimensions pooled to more than one")],
    composite=True,
)
def adaptive_avg_pool(ctx: ConverterContext, call: Call) -> Tensor:
    """The mean of regions that divide each dimension as evenly as possible."""
    x, sizes = ctx.tensor(call.arg("self")), call.value("output_size")
    whole = [index - len(sizes) for index, size in enumerate(sizes) if size == 1]
    result = ar.reduce(ctx, "AVG", x, whole, True) if whole else x
    for dim in _adaptive_dims(call):
        result = _averaged(ctx, result, dim, int(sizes[dim]))
    return result


def _averaged(ctx: ConverterContext, x: Tensor, dim: int, size: int) -> Tensor:
    """One dimension averaged to `size` elements, as a product with a matrix of weights [size, length]."""
    length = int(x.shape[dim])
    if length == size:
        return x
    weights = torch.zeros(size, length)
    for index in range(size):
        start, end = index * length // size, -(-(index + 1) * length // size)
        weights[index, start:end] = 1 / (end - start)
    matrix = ctx.constant(weights.to(x.dtype), "weights")
    moved = shapes.swap(ctx, x, dim, -1, "move")
    return shapes.swap(ctx, product(ctx, moved, matrix, transposed=(False, True), role="average"), dim, -1, "move")
