"""Writes that combine values meeting at one place, and writes under a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, at_least, dims_of, product, same, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import Tensor, is_float
from .combining import Destinations, most_values
from .conditions import MAX_WORK, largest, limited_work
from .indexing import gathered, places_of, wrapped

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("scatter")

_OPERATIONS = {
    "sum": "SUM",
    "add": "SUM",
    "mean": "SUM",
    "prod": "PROD",
    "multiply": "PROD",
    "amax": "MAX",
    "amin": "MIN",
}
"""The layer's operation for each name that PyTorch's operators use."""


@dataclass(frozen=True)
class _Update:
    """How values change a tensor: `reduce` names the combination as PyTorch does, `axis` is the written dimension.

    `most` is how many values there can be in a row, or None if they are few.
    """

    reduce: str
    axis: int
    most: int | None
    include_self: bool = True

    def apply(self, ctx: ConverterContext, x: Tensor, places: Tensor, values: Tensor) -> Tensor:
        """The tensor after the update; places [..., K, ...] and values broadcast, with the sizes of x elsewhere."""
        if 0 in x.shape or 0 in values.shape or 0 in places.shape:
            return x
        # As PyTorch's own kernels do on devices, halves are combined in f32; booleans are counted.
        dtype = torch.float32 if is_float(x.dtype) else torch.int32 if x.dtype == torch.bool else x.dtype
        base, values = ar.cast(ctx, x, dtype, "wide"), ar.cast(ctx, values, dtype, "wide")
        operation = _OPERATIONS[self.reduce]
        where = Destinations.of(ctx, places, self.axis, x.shape[self.axis], self.most)
        total = where.total(operation, values)
        if self.include_self:
            total = _joined(ctx, operation, base, total)
        if self.include_self and self.reduce != "mean":
            return ar.cast(ctx, total, x.dtype)
        count = where.count(dtype)
        if self.reduce == "mean":
            total = self._divided(ctx, total, count)
        if not self.include_self:
            total = ar.where(ctx, ar.compare(ctx, "GREATER", count, 0, "written"), total, base, "kept")
        return ar.cast(ctx, total, x.dtype)

    def _divided(self, ctx: ConverterContext, total: Tensor, count: Tensor) -> Tensor:
        if self.include_self:
            divisor = ar.binary(ctx, "SUM", count, 1, "divisor")
        else:
            divisor = ar.clamp(ctx, count, 1, None, "divisor")
        return ar.elementwise(ctx, "DIV" if is_float(total.dtype) else "FLOOR_DIV", total, divisor, "mean")


def _joined(ctx: ConverterContext, operation: str, base: Tensor, total: Tensor) -> Tensor:
    result = ar.elementwise(ctx, operation, base, total, "joined")
    if operation in ("SUM", "PROD") or not is_float(base.dtype):
        return result
    # TensorRT-RTX 1.6 builds no engine that asks for the NaNs of a constant expanded to a varying size.
    parts = [part for part in (base, total) if part.constant is None or bool(part.constant.isnan().any())]
    flags = [ar.unary(ctx, "ISNAN", part, "isnan") for part in parts]
    if not flags:
        return result
    unknown = flags[0] if len(flags) == 1 else ar.elementwise(ctx, "OR", flags[0], flags[1], "isnan")
    return ar.where(ctx, unknown, math.nan, result, "joined")


# --- one place for each element --------------------------------------------------------------------------------------
_SCATTER = [limited_work("`index`", lambda call: call.value("index").shape)]


def _most_in_row(call: Call, values: Any) -> int | None:
    """How many of these values there can be along `dim`, or None if they are few."""
    x, dim = call.value("self"), call.value("dim")
    if not x.dim():
        return None
    sizes = [*values.shape, x.shape[dim]]
    # Comparing all with all needs one more dimension than TensorRT's 8.
    return largest(values.shape[dim]) if x.dim() == 8 else most_values(sizes, values.shape[dim] if values.dim() else 1)


@FAMILY.converter(aten.scatter_add.default, conditions=_SCATTER)
def scatter_add(ctx: ConverterContext, call: Call) -> Tensor:
    """Values added along a dimension, one place for each."""
    return _scattered(ctx, call, "sum", True)


@FAMILY.converter(aten.scatter_reduce.two, conditions=_SCATTER)
def scatter_reduce(ctx: ConverterContext, call: Call) -> Tensor:
    """Values combined along a dimension, one place for each; without `include_self` they replace what was there."""
    return _scattered(ctx, call, call.value("reduce"), call.value("include_self"))


@FAMILY.converter(aten.scatter.reduce, aten.scatter.value_reduce, conditions=_SCATTER)
def scatter_with_reduce(ctx: ConverterContext, call: Call) -> Tensor:
    """Values or one value added or multiplied along a dimension, one place for each."""
    return _scattered(ctx, call, call.value("reduce"), True)


def _scattered(ctx: ConverterContext, call: Call, reduce: str, include_self: bool) -> Tensor:
    whole, places = (_at_least_1d(ctx, ctx.tensor(call.arg(name))) for name in ("self", "index"))
    if "value" in call.args:
        values = ar.operands(ctx, (places, call.value("value")), whole.dtype)[1]
    else:
        values = _at_least_1d(ctx, ctx.tensor(call.arg("src")))
        for dim, size in enumerate(places.shape):
            values = shapes.slice_axis(ctx, values, dim, 0, size, role="cut")
    axis = whole.axis(call.value("dim"))
    update = _Update(reduce, axis, _most_in_row(call, call.value("index")), include_self)
    if 0 in places.shape or 0 in whole.shape:
        return ctx.tensor(call.arg("self"))

    def apply(x: Tensor) -> Tensor:
        return update.apply(ctx, x, places, values)

    written = _in_front(ctx, whole, places.shape, axis, apply)
    return written if call.value("self").dim() else shapes.reshape(ctx, written, (), "shape")


def _at_least_1d(ctx: ConverterContext, x: Tensor) -> Tensor:
    return shapes.with_rank(ctx, x, 1)


def _in_front(
    ctx: ConverterContext, x: Tensor, shape: Sequence[Dim], axis: int, change: Callable[[Tensor], Tensor]
) -> Tensor:
    """Change the first `shape` elements of `x` (all of them along `axis`) and leave the rest as it is."""
    for dim, size in enumerate(shape):
        if dim != axis and not same(size, x.shape[dim]):
            front = shapes.slice_axis(ctx, x, dim, 0, size, role="front")
            rest = shapes.slice_axis(ctx, x, dim, size, simplified(x.shape[dim] - size), role="rest")
            return shapes.concatenate(ctx, [_in_front(ctx, front, shape, axis, change), rest], dim, "whole")
    return change(x)


# --- one place for each slice ----------------------------------------------------------------------------------------
_SLICES = [limited_work("`source`", lambda call: call.value("source").shape)]


@FAMILY.converter(aten.index_add.default, conditions=_SLICES, composite=True, wide=True)
def index_add(ctx: ConverterContext, call: Call) -> Tensor:
    """alpha times the slices of a tensor added at the places of a vector."""
    source, alpha = ctx.tensor(call.arg("source")), call.value("alpha")
    if source.dtype == torch.bool and alpha is False:
        return ctx.tensor(call.arg("self"))
    if not isinstance(alpha, int | float) or alpha != 1:
        source = ar.multiply(ctx, *ar.pair(ctx, source, ar.operand(ctx, call.arg("alpha")), source.dtype), "scaled")
    return _slices(ctx, call, source, "sum", True)


@FAMILY.converter(aten.index_reduce.default, conditions=_SLICES)
def index_reduce(ctx: ConverterContext, call: Call) -> Tensor:
    """The slices of a tensor combined at the places of a vector."""
    return _slices(ctx, call, ctx.tensor(call.arg("source")), call.value("reduce"), call.value("include_self"))


def _slices(ctx: ConverterContext, call: Call, source: Tensor, reduce: str, include_self: bool) -> Tensor:
    x = _at_least_1d(ctx, ctx.tensor(call.arg("self")))
    source = _at_least_1d(ctx, source)
    axis = x.axis(call.value("dim"))
    index = ctx.tensor(call.arg("index"))
    shape = tuple(product(index.shape) if dim == axis else 1 for dim in range(x.rank))
    places = shapes.reshape(ctx, index, shape, "places")
    most = _most_in_row(call, call.value("source"))
    written = _Update(reduce, axis, most, include_self).apply(ctx, x, places, source)
    return written if call.value("self").dim() else shapes.reshape(ctx, written, (), "shape")


# --- one place for each element or slice, given by several tensors ---------------------------------------------------
def _is_mask(index: Any) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _mask_among_indices(call: Call) -> str | None:
    indices = call.value("indices")
    if not any(map(_is_mask, indices)) or len(indices) == 1:
        return None
    return f"{call.op}: one of {len(indices)} indices is a mask, so the number of places depends on its values"


def _aligned(sizes: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    rank = max(map(len, sizes))
    return [(*(1,) * (rank - len(each)), *each) for each in sizes]


def _places(call: Call) -> tuple[Any, ...]:
    """The shape that the indices broadcast to."""
    return shapes.broadcast(*_aligned([index.shape for index in call.value("indices") if index is not None]))


def _rest(call: Call) -> list[Any]:
    """The sizes of the dimensions that are not indexed."""
    x, indices = call.value("self"), call.value("indices")
    return [size for axis, size in enumerate(x.shape) if axis >= len(indices) or indices[axis] is None]


def _put_work(call: Call) -> Sequence[Any]:
    if not call.value("accumulate") or any(map(_is_mask, call.value("indices"))):
        return []
    return [*_places(call), *_rest(call)]


@FAMILY.converter(
    aten.index_put.default,
    aten._unsafe_index_put.default,
    conditions=[
        Condition("TP204", "an index that is a mask stands alone", _mask_among_indices),
        limited_work("with `accumulate`, the places times the dimensions not indexed", _put_work),
    ],
    composite=True,
)
def index_put(ctx: ConverterContext, call: Call) -> Tensor:
    """Values written (or added) at the places of one or more tensors, or wherever a mask is True."""
    x, indices = ctx.tensor(call.arg("self")), call.arg("indices")
    values = ar.cast(ctx, ctx.tensor(call.arg("values")), x.dtype)
    if 0 in x.shape or 0 in values.shape:
        return x
    if _is_mask(call.value("indices")[0]):
        values = _by_mask(ctx, ctx.tensor(indices[0]), values, x)
        mask = _leading(ctx, ctx.tensor(indices[0]), x.rank)
        return ar.where(ctx, mask, ar.add(ctx, x, values, "sum") if call.value("accumulate") else values, x)
    places = places_of(ctx, x, indices)
    rest = places.rows.shape[1:]
    count = product(places.linear.shape)
    if count == 0:
        return x
    updates = _updates(ctx, values, places.linear.shape, rest, places.axes)
    if call.value("accumulate"):
        column = shapes.reshape(ctx, places.linear, (count, *(1,) * len(rest)), "column")
        written = _Update("sum", 0, _most_places(call)).apply(ctx, places.rows, column, updates)
    else:
        column = shapes.reshape(ctx, places.linear, (count, 1), "column")
        layer = ctx.network.add_scatter(places.rows.trt, column.trt, updates.trt, ctx.trt.ScatterMode.ND)
        written = ctx.emit(layer, places.rows.shape)
    order = [*places.axes, *places.rest]
    spread = shapes.reshape(ctx, written, [x.shape[axis] for axis in order], "spread")
    return shapes.permute(ctx, spread, [order.index(axis) for axis in range(x.rank)], "back")


def _most_places(call: Call) -> int | None:
    many, rest = _places(call), _rest(call)
    if len(rest) > 6:
        # Comparing all with all needs a dimension for the values and one for the places.
        return math.prod(map(largest, many))
    few = math.prod(map(largest, (*call.value("self").shape, *many))) <= MAX_WORK
    return None if few else math.prod(map(largest, many))


def _updates(
    ctx: ConverterContext, values: Tensor, new: Sequence[Dim], rest: Sequence[Dim], axes: Sequence[int]
) -> Tensor:
    """The values as [number of places, *rest]."""
    adjacent = list(axes) == list(range(axes[0], axes[-1] + 1))
    lead = axes[0] if adjacent else 0
    # The values have the shape of what indexing would yield: move the new dimensions to the front.
    full = shapes.expand(ctx, values, (*rest[:lead], *new, *rest[lead:]), "values")
    order = [*range(lead, lead + len(new)), *range(lead), *range(lead + len(new), full.rank)]
    return shapes.reshape(ctx, shapes.permute(ctx, full, order, "values"), (product(new), *rest), "updates")


def _leading(ctx: ConverterContext, mask: Tensor, rank: int) -> Tensor:
    return shapes.reshape(ctx, mask, (*mask.shape, *(1,) * (rank - mask.rank)), "mask")


def _by_mask(ctx: ConverterContext, mask: Tensor, values: Tensor, x: Tensor) -> Tensor:
    """The values [count, *rest] brought to the places where the mask is True; others hold any of them."""
    rest = x.shape[mask.rank :]
    if values.rank <= len(rest) or values.shape[0] == 1:
        single = shapes.reshape(ctx, values, values.shape[max(values.rank - len(rest), 0) :], "value")
        return shapes.with_rank(ctx, single, x.rank)
    rows = _one_after_the_other(ctx, mask, values, "rows")
    wide = (*mask.shape, *values.shape[1:])
    return shapes.reshape(ctx, rows, wide, "rows")


def _one_after_the_other(ctx: ConverterContext, mask: Tensor, rows: Tensor, role: str) -> Tensor:
    """For each element of the flattened mask the row of as many as there are True ones before it, or the last."""
    if not at_least(rows.shape[0], 1, ctx.sizes.ranges):
        # Of none there is no last; where the mask is True nowhere, this row is not looked at.
        more = shapes.full(ctx, (1, *rows.shape[1:]), ctx.scalar(0, rows.dtype), "row")
        rows = shapes.concatenate(ctx, [rows, more], 0, "rows")
    flags = ar.cast(ctx, shapes.flatten(ctx, mask, role="flat"), torch.int64, "flags")
    kind = ctx.trt.CumulativeOperation.SUM
    layer = ctx.network.add_cumulative(flags.trt, ctx.scalar(0, torch.int32).trt, kind, True, False)
    before = ctx.emit(layer, flags.shape, "before")
    last = simplified(rows.shape[0] - 1)
    most: Tensor | int = last if isinstance(last, int) else shapes.reshape(ctx, ctx.sizes.tensor(last), (), "size")
    return gathered(ctx, rows, ar.clamp(ctx, before, None, most, "place"), 0, role)


@FAMILY.converter(aten.put.default, conditions=[limited_work("`index`", lambda call: call.value("index").shape)])
def put(ctx: ConverterContext, call: Call) -> Tensor:
    """Values written (or added) at places in the elements of a tensor, counted in order."""
    x, index, source = (ctx.tensor(call.arg(name)) for name in ("self", "index", "source"))
    flat = shapes.flatten(ctx, x, role="flat")
    count = product(index.shape)
    if count == 0 or flat.shape[0] == 0:
        return x
    places = shapes.reshape(ctx, wrapped(ctx, index, flat.shape[0]), (count,), "places")
    updates = shapes.reshape(ctx, ar.cast(ctx, source, x.dtype), (count,), "updates")
    if call.value("accumulate"):
        whole, many = call.value("self").numel(), call.value("index").numel()
        written = _Update("sum", 0, most_values((whole, many), many)).apply(ctx, flat, places, updates)
    else:
        column = shapes.unsqueeze(ctx, places, 1, "column")
        layer = ctx.network.add_scatter(flat.trt, column.trt, updates.trt, ctx.trt.ScatterMode.ND)
        written = ctx.emit(layer, flat.shape, "written")
    return shapes.reshape(ctx, written, x.shape, "shape")


@FAMILY.converter(aten.masked_scatter.default)
def masked_scatter(ctx: ConverterContext, call: Call) -> Tensor:
    """The elements of `source`, one after the other, wherever the mask is True."""
    x, mask, source = (ctx.tensor(call.arg(name)) for name in ("self", "mask", "source"))
    shape = dims_of(call.out.shape)
    if 0 in shape or 0 in source.shape:
        return shapes.expand(ctx, x, shape)
    x, mask = shapes.expand(ctx, x, shape, "self"), shapes.expand(ctx, mask, shape, "mask")
    flat = shapes.flatten(ctx, source, role="source")
    values = shapes.reshape(ctx, _one_after_the_other(ctx, mask, flat, "values"), shape, "values")
    return ar.where(ctx, mask, values, x)
