"""Shape changes: static sizes stay attributes of layers, only dynamic ones become shape tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sympy
import torch

from ..ir.symbols import Dim, at_least, counted_from_start, expression, is_static, product, same, simplified
from .tensor import Tensor

if TYPE_CHECKING:
    from .context import ConverterContext


def broadcast(*shapes: Sequence[Dim]) -> tuple[Dim, ...]:
    """The shape that tensors of equal ranks broadcast to."""
    result = []
    for sizes in zip(*shapes, strict=True):
        wider = [size for size in sizes if size != 1]
        static = [size for size in wider if isinstance(size, int)]
        result.append((static or wider or [1])[0])
    return tuple(result)


def size_of(value: Any) -> Dim:
    """An argument that is a size (a number or a SymInt) as number or expression."""
    return simplified(expression(value))


def slice_start(ctx: ConverterContext, start: Any, size: Dim) -> Dim:
    """Where a slice of a dimension begins, as PyTorch reads it: None is 0, negative counts from the end; 0 to `size`.

    What the ranges of sizes do not prove is computed in the network.
    """
    place: Dim = 0 if start is None else size_of(start)
    place = counted_from_start(place, size, ctx.sizes.ranges)
    if isinstance(place, int) and isinstance(size, int):
        return min(max(place, 0), size)
    if not at_least(place, 0, ctx.sizes.ranges):
        place = sympy.Max(place, 0)
    if place != 0 and not same(place, size) and not at_least(size - place, 0, ctx.sizes.ranges):
        place = sympy.Min(place, size)
    return simplified(place)


def _still_known(result: Tensor, x: Tensor, moved: Callable[[torch.Tensor], torch.Tensor]) -> Tensor:
    """The result of a layer that moves elements, with its values where those of its input are known."""
    values = x.constant
    if values is None:
        return result
    if values.numel() == 1:
        return replace(result, constant=values.reshape((1,) * result.rank))
    return replace(result, constant=moved(values)) if tuple(values.shape) == x.shape else result


# --- reshape ---------------------------------------------------------------------------------------------------------
def reshape(ctx: ConverterContext, x: Tensor, shape: Sequence[Dim], role: str = "") -> Tensor:
    """The elements of `x`, in order, in another shape."""
    shape = tuple(shape)
    if len(shape) == x.rank and all(map(same, shape, x.shape)):
        return x
    layer = ctx.network.add_shuffle(x.trt)
    static = _reshape_dims(ctx, x.shape, shape)
    if static is None:
        layer.zero_is_placeholder = False
        layer.set_input(1, ctx.sizes.vector(shape).trt)
    else:
        layer.zero_is_placeholder = 0 not in shape
        layer.reshape_dims = static
    return _still_known(ctx.emit(layer, shape, role), x, lambda values: values.reshape(shape))


def _reshape_dims(ctx: ConverterContext, before: Sequence[Dim], after: Sequence[Dim]) -> tuple[int, ...] | None:
    """`after` as numbers, 0 (the size at the same place) and at most one -1 (the rest); None if impossible.

    What the rest is cannot be told where another size may be 0.
    """
    if is_static(after):
        return tuple(int(size) for size in after)
    if 0 in after:
        return None
    dims: list[int] = []
    for index, size in enumerate(after):
        if isinstance(size, int):
            dims.append(size)
        else:
            dims.append(0 if index < len(before) and same(size, before[index]) else -1)
    others = [size for size, dim in zip(after, dims, strict=True) if dim != -1]
    if dims.count(-1) > 1 or (-1 in dims and not all(at_least(size, 1, ctx.sizes.ranges) for size in others)):
        return None
    return tuple(dims)


def with_rank(ctx: ConverterContext, x: Tensor, rank: int) -> Tensor:
    """The tensor with at least `rank` dimensions, those that are new of size 1 in front."""
    if x.rank >= rank:
        return x
    return reshape(ctx, x, (1,) * (rank - x.rank) + x.shape, "rank")


def operand_with_rank(ctx: ConverterContext, argument: Any, rank: int) -> Tensor | None:
    """An argument of a call as `with_rank` gives it, a parameter without a layer for it; None for None."""
    if argument is None:
        return None
    return ctx.with_rank(argument, rank) or with_rank(ctx, ctx.tensor(argument), rank)


def unsqueeze(ctx: ConverterContext, x: Tensor, dim: int, role: str = "") -> Tensor:
    """A new dimension of size 1 at `dim` (negative: counted from the end of the result)."""
    dim %= x.rank + 1
    return reshape(ctx, x, (*x.shape[:dim], 1, *x.shape[dim:]), role)


def squeeze(ctx: ConverterContext, x: Tensor, dims: Sequence[int], role: str = "") -> Tensor:
    """Without those of the given dimensions that have size 1."""
    axes = {x.axis(dim) for dim in dims}
    return reshape(ctx, x, [size for axis, size in enumerate(x.shape) if axis not in axes or size != 1], role)


def flatten(ctx: ConverterContext, x: Tensor, start: int = 0, end: int = -1, role: str = "") -> Tensor:
    """Dimensions `start` to `end` as one; a 0-d tensor gets one dimension."""
    if not x.rank:
        return reshape(ctx, x, (1,), role)
    first, last = x.axis(start), x.axis(end)
    return reshape(ctx, x, (*x.shape[:first], product(x.shape[first : last + 1]), *x.shape[last + 1 :]), role)


def permute(ctx: ConverterContext, x: Tensor, order: Sequence[int], role: str = "") -> Tensor:
    """Dimensions in another order."""
    axes = tuple(x.axis(dim) for dim in order)
    if axes == tuple(range(x.rank)):
        return x
    moved = [axis for axis in axes if not same(x.shape[axis], 1)]
    if moved == sorted(moved):
        # The elements stay where they are. TensorRT-RTX's builder crashes on such transposes between products, as
        # einsum writes them: `c = tanh(einsum("bij,bjk->bik", c, c) + c)`, three times.
        return reshape(ctx, x, [x.shape[axis] for axis in axes], role)
    layer = ctx.network.add_shuffle(x.trt)
    layer.first_transpose = axes
    result = ctx.emit(layer, tuple(x.shape[axis] for axis in axes), role)
    return _still_known(result, x, lambda values: values.permute(axes))


def swap(ctx: ConverterContext, x: Tensor, first: int, second: int, role: str = "") -> Tensor:
    """Two dimensions exchanged."""
    order = list(range(x.rank))
    if x.rank:
        a, b = x.axis(first), x.axis(second)
        order[a], order[b] = order[b], order[a]
    return permute(ctx, x, order, role)


# --- slices ----------------------------------------------------------------------------------------------------------
def slice_axis(
    ctx: ConverterContext, x: Tensor, dim: int, start: Dim, size: Dim, step: int = 1, role: str = ""
) -> Tensor:
    """`size` elements of one dimension, from `start` in steps of `step` (which may be negative)."""
    axis = x.axis(dim)
    if start == 0 and step == 1 and same(size, x.shape[axis]):
        return x
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    static = isinstance(start, int) and isinstance(size, int)
    layer = ctx.network.add_slice(x.trt, (start if static else 0,), (size if static else 0,), (step,))
    layer.axes = (axis,)
    if not static:
        layer.set_input(1, ctx.sizes.vector((start,)).trt)
        layer.set_input(2, ctx.sizes.vector((size,)).trt)
    return ctx.emit(layer, shape, role)


def flip(ctx: ConverterContext, x: Tensor, dims: Sequence[int], role: str = "") -> Tensor:
    """The elements along some dimensions in reverse order."""
    if 0 in x.shape:
        # TensorRT builds no slice that reads nothing backwards.
        return x
    for dim in {x.axis(dim) for dim in dims} if x.rank else set():
        size = x.shape[dim]
        x = slice_axis(ctx, x, dim, simplified(size - 1), size, -1, role)
    return x


def select_index(ctx: ConverterContext, x: Tensor, dim: int, index: Dim, role: str = "") -> Tensor:
    """One element of a dimension, which disappears; a negative index counts from the end."""
    axis = x.axis(dim)
    index = counted_from_start(index, x.shape[axis], ctx.sizes.ranges)
    part = slice_axis(ctx, x, axis, index, 1, role="slice")
    return reshape(ctx, part, (*x.shape[:axis], *x.shape[axis + 1 :]), role)


def expand(ctx: ConverterContext, x: Tensor, shape: Sequence[Dim], role: str = "") -> Tensor:
    """Broadcast to a shape: leading dimensions are added, dimensions of size 1 repeat."""
    shape = tuple(shape)
    x = with_rank(ctx, x, len(shape))
    if all(map(same, x.shape, shape)):
        return x
    strides = tuple(0 if size == 1 and wanted != 1 else 1 for size, wanted in zip(x.shape, shape, strict=True))
    static = is_static(shape)
    layer = ctx.network.add_slice(x.trt, (0,) * x.rank, shape if static else (0,) * x.rank, strides)
    if not static:
        layer.set_input(2, ctx.sizes.vector(shape).trt)
    return replace(ctx.emit(layer, shape, role), constant=x.constant)


def concatenate(ctx: ConverterContext, parts: Sequence[Tensor], dim: int, role: str = "") -> Tensor:
    """Tensors of equal dtypes one behind the other along a dimension."""
    if len(parts) == 1:
        return parts[0]
    axis = parts[0].axis(dim)
    layer = ctx.network.add_concatenation([part.trt for part in parts])
    layer.axis = axis
    total: Dim = 0
    for part in parts:
        total = simplified(total + part.shape[axis])
    shape = list(broadcast(*(part.shape for part in parts)))
    shape[axis] = total
    return ctx.emit(layer, tuple(shape), role)


def pad(
    ctx: ConverterContext,
    x: Tensor,
    before: Sequence[Dim],
    after: Sequence[Dim],
    value: Tensor | None = None,
    mode: str = "FILL",
    role: str = "",
) -> Tensor:
    """More elements before and after each dimension (negative: fewer), as a slice that reaches out of bounds.

    mode: FILL (with `value`, a 0-d tensor, by default 0), REFLECT, CLAMP or WRAP.
    """
    shape = tuple(simplified(size + first + last) for size, first, last in zip(x.shape, before, after, strict=True))
    if all(map(same, shape, x.shape)) and all(first == 0 for first in before):
        return x
    starts = tuple(simplified(-first) for first in before)
    static = is_static(shape) and is_static(starts)
    zeros = (0,) * x.rank
    layer = ctx.network.add_slice(x.trt, starts if static else zeros, shape if static else zeros, (1,) * x.rank)
    layer.mode = getattr(ctx.trt.SampleMode, mode)
    if not static:
        layer.set_input(1, ctx.sizes.vector(starts).trt)
        layer.set_input(2, ctx.sizes.vector(shape).trt)
    if value is not None:
        layer.set_input(4, value.trt)
    return ctx.emit(layer, shape, role)


# --- new tensors -----------------------------------------------------------------------------------------------------
def full(ctx: ConverterContext, shape: Sequence[Dim], value: Tensor, role: str = "") -> Tensor:
    """A tensor of one value (0-d, or of size 1 in every dimension)."""
    rank = len(shape)
    return expand(ctx, with_rank(ctx, value, rank) if value.rank < rank else value, shape, role)


def ramp(ctx: ConverterContext, size: Dim, start: Dim = 0, step: Dim = 1, role: str = "") -> Tensor:
    """start, start + step, … as int64 of shape [size]."""
    if is_static((size, start, step)):
        values = torch.arange(int(size), dtype=torch.int64) * int(step) + int(start)
        return ctx.constant(values, role or "ramp")
    kind = ctx.trt.FillOperation.LINSPACE
    layer = ctx.network.add_fill((size if isinstance(size, int) else 0,), kind, ctx.data_type(torch.int64))
    if not isinstance(size, int):
        layer.set_input(0, ctx.sizes.tensor(size).trt)
    layer.set_input(1, reshape(ctx, ctx.sizes.tensor(start), (), "size").trt)
    layer.set_input(2, ctx.sizes.tensor(step).trt)
    return ctx.emit(layer, (size,), role)
