"""Pooling over windows and to given sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._sympy.functions import FloorDiv

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, dims_of, same, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import Tensor, is_float
from .conditions import FLOATS, dtype_of, smallest, static_dims, used_results
from .linear import product
from .per_axis import per_axis
from .windows import Windows, even_places, maxima

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("pooling")

_NUMBERS = (*FLOATS, torch.int32, torch.int64)

_LARGEST_WINDOW = 100_000
"""Elements below which TensorRT's pooling layer takes a window."""


def _wide_window(call: Call) -> str | None:
    widest = max(per_axis(call.value("kernel_size"), _spatial(call.target)))
    if widest < _LARGEST_WINDOW:
        return None
    return f"{call.op}: kernel_size is {call.value('kernel_size')}, but TensorRT pools less than {_LARGEST_WINDOW}"


_WINDOW = Condition("TP205", f"windows are less than {_LARGEST_WINDOW} wide", _wide_window)


def _spatial(target: Any) -> int:
    return int(target._schema.name[target._schema.name.index("pool") + 4])


@dataclass(frozen=True)
class _Pool:
    """The windows of a call: sizes in elements, one per pooled dimension, and the shapes around them."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool
    out: tuple[Dim, ...]

    @classmethod
    def of(cls, call: Call) -> _Pool:
        """The windows that a call asks for."""
        spatial = _spatial(call.target)
        out = call.out[0] if isinstance(call.out, list | tuple) else call.out
        kernel = per_axis(call.value("kernel_size"), spatial)
        stride = call.value("stride")
        return cls(
            kernel,
            per_axis(stride, spatial) if stride else kernel,
            per_axis(call.value("padding"), spatial),
            per_axis(call.args.get("dilation", 1), spatial),
            call.value("ceil_mode"),
            dims_of(out.shape[-spatial:]),
        )

    def layer(self, ctx: ConverterContext, x: Tensor, kind: str, excludes_padding: bool = True) -> Tensor:
        """The result of a pooling layer over the last dimensions of `x`; of one for each, if the window is large."""
        if math.prod(self.kernel) >= _LARGEST_WINDOW:
            for axis, size in enumerate(self.kernel):
                if size > 1 or self.stride[axis] > 1 or self.padding[axis] > 0:
                    x = self._along(axis, x).layer(ctx, x, kind, excludes_padding)
            return x
        lead = x.shape[: x.rank - len(self.kernel)]
        sizes = x.shape[len(lead) :]
        # TensorRT pools two or three dimensions behind a batch and channels.
        filled = [1] * (max(len(self.kernel), 2) - len(self.kernel))
        shape = (*(lead if len(lead) == 2 else (1, *lead)), *filled, *sizes)
        after = tuple(map(self._padding_after, range(len(sizes)), sizes))
        counts = tuple(map(self._count, range(len(sizes)), sizes, after))
        wide = shapes.reshape(ctx, x, shape, "image")
        layer = ctx.network.add_pooling_nd(wide.trt, getattr(ctx.trt.PoolingType, kind), (*filled, *self.kernel))
        if layer is not None:
            layer.stride_nd = (*filled, *self.stride)
            layer.pre_padding = (*[0] * len(filled), *self.padding)
            layer.post_padding = (*[0] * len(filled), *after)
            layer.average_count_excludes_padding = excludes_padding
        result = ctx.emit(layer, (*shape[:2], *filled, *counts))
        result = shapes.reshape(ctx, result, (*lead, *counts), "shape")
        for axis, size in enumerate(self.out, start=len(lead)):
            result = shapes.slice_axis(ctx, result, axis, 0, size, role="cut")
        return result

    def _along(self, axis: int, x: Tensor) -> _Pool:
        """The windows of one dimension alone."""

        def alone(values: Sequence[Any], others: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(value if index == axis else others[index] for index, value in enumerate(values))

        ones, zeros = (1,) * len(self.kernel), (0,) * len(self.kernel)
        sizes = x.shape[x.rank - len(self.kernel) :]
        return _Pool(
            alone(self.kernel, ones),
            alone(self.stride, ones),
            alone(self.padding, zeros),
            ones,
            self.ceil_mode,
            alone(self.out, sizes),
        )

    def _padding_after(self, axis: int, size: Dim) -> int:
        """What must follow the last element so that the last window is complete; with ceil_mode more than the padding.

        Of a dynamic dimension as much as may be needed; windows that begin behind the elements are cut off.
        """
        kernel, stride, padding, count = self.kernel[axis], self.stride[axis], self.padding[axis], self.out[axis]
        if isinstance(size, int) and isinstance(count, int):
            return max(padding, (count - 1) * stride + kernel - size - padding)
        return padding + stride - 1 if self.ceil_mode else padding

    def _count(self, axis: int, size: Dim, after: int) -> Dim:
        if isinstance(self.out[axis], int) or not self.ceil_mode:
            return self.out[axis]
        return simplified(FloorDiv(size + self.padding[axis] + after - self.kernel[axis], self.stride[axis]) + 1)


# --- maxima ----------------------------------------------------------------------------------------------------------
def _stepped_over(call: Call) -> str | None:
    """A dilated window may miss all elements; PyTorch's place of its maximum is then outside of the input."""
    if 1 not in used_results(call):
        return None
    pool = _Pool.of(call)
    for size, dilation in zip(call.value("self").shape[-len(pool.kernel) :], pool.dilation, strict=True):
        if smallest(size) < dilation:
            return f"{call.op}: a window of elements {dilation} apart may miss all of a dimension of size {size}"
    return None


@FAMILY.converter(
    aten.max_pool2d_with_indices.default,
    aten.max_pool3d_with_indices.default,
    conditions=[
        dtype_of("self", _NUMBERS),
        Condition("TP205", "no dilated window misses all elements, if places are used", _stepped_over),
        _WINDOW,
    ],
)
def max_pool(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor | None]:
    """The greatest element of each window, and its place in the image."""
    x, pool = ctx.tensor(call.arg("self")), _Pool.of(call)
    wanted = 1 in used_results(call)
    if is_float(x.dtype) and set(pool.dilation) == {1} and not wanted:
        return pool.layer(ctx, x, "MAX"), None
    sizes = x.shape[x.rank - len(pool.kernel) :]
    columns = zip(sizes, pool.out, pool.kernel, pool.stride, pool.padding, pool.dilation, strict=True)
    windows = [Windows(*column) for column in columns]
    result, places = maxima(ctx, x, [window.places(ctx) for window in windows], wanted)
    return _without_missed(ctx, result, windows), places


def _without_missed(ctx: ConverterContext, result: Tensor, windows: Sequence[Windows]) -> Tensor:
    """The maximum of a window without elements is the least value of all."""
    least = -math.inf if is_float(result.dtype) else torch.iinfo(result.dtype).min
    for dim, window in enumerate(windows, start=result.rank - len(windows)):
        missed = window.missed(ctx)
        if missed is not None:
            column = shapes.reshape(ctx, missed, (window.count, *(1,) * (result.rank - dim - 1)), "missed")
            result = ar.where(ctx, column, ctx.scalar(least, result.dtype), result, "maximum")
    return result


# --- means -----------------------------------------------------------------------------------------------------------
@FAMILY.converter(
    aten.avg_pool1d.default,
    aten.avg_pool2d.default,
    aten.avg_pool3d.default,
    conditions=[dtype_of("self", FLOATS), _WINDOW],
    composite=True,
    wide=True,
)
def avg_pool(ctx: ConverterContext, call: Call) -> Tensor:
    """The mean of each window, or its sum over a divisor."""
    x, pool = ctx.tensor(call.arg("self")), _Pool.of(call)
    divisor = call.args.get("divisor_override")
    if divisor is not None:
        result = pool.layer(ctx, x, "AVERAGE", excludes_padding=False)
        return ar.multiply(ctx, result, torch.Size(pool.kernel).numel() / divisor, "divisor")
    if call.value("count_include_pad") and any(pool.padding):
        # Zeros of the padding count, those of an incomplete last window do not.
        around = [*[0] * (x.rank - len(pool.padding)), *pool.padding]
        x = shapes.pad(ctx, x, around, around, role="pad")
        pool = replace(pool, padding=(0,) * len(pool.padding))
    return pool.layer(ctx, x, "AVERAGE")


# --- to given sizes --------------------------------------------------------------------------------------------------
def _adaptive_dims(call: Call) -> list[int]:
    """The dimensions that are pooled, to more than one element."""
    sizes = dims_of(call.value("output_size"))
    before = dims_of(call.value("self").shape)[-len(sizes) :]
    return [
        index - len(sizes)
        for index, (size, length) in enumerate(zip(sizes, before, strict=True))
        if size != 1 and not same(size, length)
    ]


@FAMILY.converter(
    aten._adaptive_avg_pool2d.default,
    aten._adaptive_avg_pool3d.default,
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
    aten.adaptive_avg_pool3d.default,
    conditions=[dtype_of("self", FLOATS), static_dims("self", _adaptive_dims, "dimensions pooled to more than one")],
    composite=True,
    wide=True,
)
def adaptive_avg_pool(ctx: ConverterContext, call: Call) -> Tensor:
    """The mean of regions that divide each dimension as evenly as possible."""
    x, sizes = ctx.tensor(call.arg("self")), dims_of(call.value("output_size"))
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


@FAMILY.converter(
    aten.adaptive_max_pool2d.default,
    aten.adaptive_max_pool3d.default,
    conditions=[dtype_of("self", _NUMBERS), static_dims("self", _adaptive_dims, "dimensions pooled to more than one")],
)
def adaptive_max_pool(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor | None]:
    """The greatest element of regions that divide each dimension as evenly as possible, and its place in the image."""
    x, sizes = ctx.tensor(call.arg("self")), dims_of(call.value("output_size"))
    lengths = x.shape[x.rank - len(sizes) :]
    places = [
        None if same(length, size) else even_places(ctx, length, int(size))
        for length, size in zip(lengths, sizes, strict=True)
    ]
    return maxima(ctx, x, places, 1 in used_results(call))
