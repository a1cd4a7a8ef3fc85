"""Views of the memory behind a tensor, and writes to slices and diagonals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import sympy
import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, at_least, counted_from_start, dims_of, product, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import Tensor
from .conditions import static_value
from .indexing import gathered

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("strided")


# --- memory ----------------------------------------------------------------------------------------------------------
def _not_its_elements(call: Call) -> str | None:
    """The memory is known only where the tensor's elements, in order, are all of it."""
    x = call.value("self")
    if not x.is_contiguous() or x.storage_offset() != 0:
        return f"{call.op}: self has the strides {x.stride()} and the offset {x.storage_offset()} in its memory"
    arguments = (*call.value("size"), *call.value("stride"), call.value("storage_offset"), *x.shape)
    if all(argument is None or isinstance(argument, int) for argument in arguments) and 0 not in call.value("size"):
        last = _places(call).max()
        if last >= x.numel():
            return f"{call.op}: element {last} of the memory is read, but self has {x.numel()} elements"
    return None


_MEMORY = [
    *(static_value(name) for name in ("size", "stride", "storage_offset")),
    Condition("TP205", "`self` is contiguous, and what is read lies in it", _not_its_elements),
]


def _places(call: Call) -> torch.Tensor:
    """The places in memory of all elements, in their shape."""
    size, stride = call.value("size"), call.value("stride")
    places = torch.tensor(call.value("storage_offset") or 0)
    for length, step in zip(size, stride, strict=True):
        places = places.unsqueeze(-1) + torch.arange(length) * step
    return places


@FAMILY.converter(aten.as_strided.default, aten.as_strided_copy.default, conditions=_MEMORY)
def as_strided(ctx: ConverterContext, call: Call) -> Tensor:
    """The elements at given strides in the memory of a tensor, read in rows as long as they follow each other."""
    x, size = ctx.tensor(call.arg("self")), tuple(call.value("size"))
    flat = shapes.flatten(ctx, x, role="memory")
    length = _row(call, flat.shape[0])
    if length == 1:
        return gathered(ctx, flat, ctx.constant(_places(call), "places"), 0)
    rows = shapes.reshape(ctx, flat, (simplified(flat.shape[0] // length), length), "rows")
    places = _places(call).flatten()[::length] // length
    return shapes.reshape(ctx, gathered(ctx, rows, ctx.constant(places, "places"), 0), size, "shape")


def _row(call: Call, numel: Dim) -> int:
    """How many elements of the result follow each other in memory everywhere, at places that this number divides."""
    size, stride = call.value("size"), call.value("stride")
    if not isinstance(numel, int) or 0 in size:
        return 1
    best, block = 1, 1
    for axis in reversed(range(len(size))):
        if size[axis] != 1 and stride[axis] != block:
            break
        block *= size[axis]
        starts = (step for length, step in zip(size[:axis], stride[:axis], strict=True) if length != 1)
        best = max(best, math.gcd(block, numel, call.value("storage_offset") or 0, *starts))
    return best


@FAMILY.converter(aten.as_strided_scatter.default, conditions=_MEMORY)
def as_strided_scatter(ctx: ConverterContext, call: Call) -> Tensor:
    """A copy with the elements at given strides in its memory replaced."""
    x, src = ctx.tensor(call.arg("self")), ctx.tensor(call.arg("src"))
    places = _places(call)
    if not places.numel():
        return x
    flat = shapes.flatten(ctx, x, role="memory")
    column = ctx.constant(places.reshape(-1, 1), "places")
    updates = shapes.flatten(ctx, ar.cast(ctx, src, x.dtype), role="updates")
    layer = ctx.network.add_scatter(flat.trt, column.trt, updates.trt, ctx.trt.ScatterMode.ND)
    return shapes.reshape(ctx, ctx.emit(layer, flat.shape), x.shape, "shape")


# --- slices ----------------------------------------------------------------------------------------------------------
@FAMILY.converter(aten.select_scatter.default, composite=True)
def select_scatter(ctx: ConverterContext, call: Call) -> Tensor:
    """A copy with one element of a dimension replaced."""
    x, src = ctx.tensor(call.arg("self")), ctx.tensor(call.arg("src"))
    axis = x.axis(call.value("dim"))
    start = counted_from_start(shapes.size_of(call.value("index")), x.shape[axis], ctx.sizes.ranges)
    return _replaced(ctx, x, shapes.unsqueeze(ctx, ar.cast(ctx, src, x.dtype), axis, "part"), axis, start)


@FAMILY.converter(aten.slice_scatter.default, composite=True)
def slice_scatter(ctx: ConverterContext, call: Call) -> Tensor:
    """A copy with every step-th element of a dimension, from start up to end, replaced."""
    x, src = ctx.tensor(call.arg("self")), ar.cast(ctx, ctx.tensor(call.arg("src")), call.out.dtype)
    axis, step = x.axis(call.value("dim")), call.value("step")
    start = shapes.slice_start(ctx, call.value("start"), x.shape[axis])
    part = shapes.expand(ctx, src, dims_of(call.value("src").shape), "part")
    if step == 1 or part.shape[axis] == 0:
        return _replaced(ctx, x, part, axis, start)
    places = shapes.unsqueeze(ctx, shapes.ramp(ctx, part.shape[axis], start, step, "places"), 1, "places")
    front, rows = (shapes.swap(ctx, each, 0, axis, "front") for each in (x, part))
    layer = ctx.network.add_scatter(front.trt, places.trt, rows.trt, ctx.trt.ScatterMode.ND)
    return shapes.swap(ctx, ctx.emit(layer, front.shape, "written"), 0, axis)


def _replaced(ctx: ConverterContext, x: Tensor, part: Tensor, axis: int, start: Dim) -> Tensor:
    end = simplified(start + part.shape[axis])
    before = shapes.slice_axis(ctx, x, axis, 0, start, role="before")
    after = shapes.slice_axis(ctx, x, axis, end, simplified(x.shape[axis] - end), role="after")
    pieces = [piece for piece in (before, part, after) if piece.shape[axis] != 0]
    return shapes.concatenate(ctx, pieces or [x], axis)


# --- diagonals -------------------------------------------------------------------------------------------------------
@FAMILY.converter(aten.diagonal.default, aten.diagonal_copy.default)
def diagonal(ctx: ConverterContext, call: Call) -> Tensor:
    """The diagonal of two dimensions, as the last dimension."""
    x = ctx.tensor(call.arg("self"))
    moved = shapes.permute(ctx, x, _order(call, x), "move")
    flat = shapes.flatten(ctx, moved, -2, -1, "flat")
    places = _diagonal_places(ctx, call, moved.shape[-1], dims_of(call.out.shape)[-1])
    return gathered(ctx, flat, places, flat.rank - 1)


@FAMILY.converter(aten.diagonal_scatter.default)
def diagonal_scatter(ctx: ConverterContext, call: Call) -> Tensor:
    """A copy with the diagonal of two dimensions replaced."""
    x, src = ctx.tensor(call.arg("self")), ctx.tensor(call.arg("src"))
    order = _order(call, x)
    moved = shapes.permute(ctx, x, [*order[-2:], *order[:-2]], "move")
    rest = moved.shape[2:]
    rows = shapes.reshape(ctx, moved, (product(moved.shape[:2]), *rest), "rows")
    updates = shapes.permute(ctx, ar.cast(ctx, src, x.dtype), [src.rank - 1, *range(src.rank - 1)], "updates")
    if 0 in updates.shape:
        return x
    places = shapes.unsqueeze(ctx, _diagonal_places(ctx, call, moved.shape[1], updates.shape[0]), 1, "places")
    layer = ctx.network.add_scatter(rows.trt, places.trt, updates.trt, ctx.trt.ScatterMode.ND)
    written = shapes.reshape(ctx, ctx.emit(layer, rows.shape, "written"), moved.shape, "shape")
    back = [*order[-2:], *order[:-2]]
    return shapes.permute(ctx, written, [back.index(axis) for axis in range(x.rank)])


def _order(call: Call, x: Tensor) -> list[int]:
    """The dimensions with the two of the diagonal last."""
    pair = [x.axis(call.value(name)) for name in ("dim1", "dim2")]
    return [*(axis for axis in range(x.rank) if axis not in pair), *pair]


def _diagonal_places(ctx: ConverterContext, call: Call, columns: Dim, length: Dim) -> Tensor:
    """The places of a diagonal in its two dimensions flattened."""
    offset = shapes.size_of(call.value("offset"))
    if at_least(offset, 0, ctx.sizes.ranges):
        first = offset
    else:
        first = simplified(sympy.Max(offset, 0) + sympy.Max(-offset, 0) * columns)
    return shapes.ramp(ctx, length, first, simplified(columns + 1), "places")
