"""Writes that combine values meeting at one place, and writes under a mask.

TensorRT's scatter layers overwrite. Where values may meet, every place asks all values instead: a comparison of the
places with 0, 1, …, size - 1 masks the values, and one reduction combines them. Unlike a product with a one-hot matrix,
this holds for integers too, for products and extremes, and next to infinities and NaNs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...compiler.call import Call
from ...compiler.symbols import Dim, dims_of, product, same, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.tensor import Tensor, is_float, is_integer
from .conditions import limited_work, rank_of
from .indexing import gathered, places_of
from .registry import Condition, Family

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


# --- combining values by place ---------------------------------------------------------------------------------------
def hits(ctx: ConverterContext, places: Tensor, size: Dim, axis: int) -> Tensor:
    """Which value goes where: bool [..., K, size, ...] for places [..., K, ...] with K at `axis`."""
    column = shapes.unsqueeze(ctx, places, axis + 1, "column")
    shape = (*(1,) * (axis + 1), size, *(1,) * (places.rank - 1 - axis))
    row = shapes.reshape(ctx, shapes.ramp(ctx, size), shape, "row")
    return ar.compare(ctx, "EQUAL", column, row, "hits")


def combined(ctx: ConverterContext, operation: str, hit: Tensor, values: Tensor, axis: int) -> Tensor:
    """SUM, PROD, MAX or MIN of the values [..., K, ...] at every place: [..., size, ...]; neutral where none is."""
    neutral = _neutral(operation, values.dtype)
    if operation in ("SUM", "PROD") or not is_float(values.dtype):
        return _reduced(ctx, operation, hit, values, neutral, axis)
    unknown = ar.unary(ctx, "ISNAN", values, "isnan")
    result = _reduced(ctx, operation, hit, ar.where(ctx, unknown, neutral, values, "known"), neutral, axis)
    met = ar.elementwise(ctx, "AND", hit, shapes.unsqueeze(ctx, unknown, axis + 1, "isnan"), "met")
    return ar.where(ctx, ar.any_of(ctx, met, [axis], False), math.nan, result, "extreme")


def _reduced(ctx: ConverterContext, operation: str, hit: Tensor, values: Tensor, neutral: float, axis: int) -> Tensor:
    masked = ar.where(ctx, hit, shapes.unsqueeze(ctx, values, axis + 1, "values"), neutral, "masked")
    return ar.reduce(ctx, operation, masked, [axis], role="combined")


def counted(ctx: ConverterContext, hit: Tensor, axis: int, dtype: torch.dtype) -> Tensor:
    """How many values go to each place, in a numeric dtype."""
    return ar.reduce(ctx, "SUM", ar.cast(ctx, hit, dtype, "hits"), [axis], role="count")


def _neutral(operation: str, dtype: torch.dtype) -> float:
    if operation in ("SUM", "PROD"):
        return {"SUM": 0, "PROD": 1}[operation] if is_integer(dtype) else {"SUM": 0.0, "PROD": 1.0}[operation]
    if is_float(dtype):
        return -math.inf if operation == "MAX" else math.inf
    limits = torch.iinfo(dtype)
    return limits.min if operation == "MAX" else limits.max


@dataclass(frozen=True)
class _Update:
    """How values change a tensor: `reduce` names the combination as PyTorch does, `axis` is the written dimension."""

    reduce: str
    axis: int
    include_self: bool = True

    def apply(self, ctx: ConverterContext, x: Tensor, places: Tensor, values: Tensor) -> Tensor:
        """The tensor after the update; places [..., K, ...] and values broadcast, with the sizes of x elsewhere."""
        if 0 in x.shape or 0 in values.shape or 0 in places.shape:
            return x
        # As PyTorch's own kernels do on devices, halves are combined in f32; booleans are counted.
        dtype = torch.float32 if is_float(x.dtype) else torch.int32 if x.dtype == torch.bool else x.dtype
        base, values = ar.cast(ctx, x, dtype, "wide"), ar.cast(ctx, values, dtype, "wide")
        operation = _OPERATIONS[self.reduce]
        hit = hits(ctx, places, x.shape[self.axis], self.axis)
        total = combined(ctx, operation, hit, values, self.axis)
        if self.include_self:
            total = _joined(ctx, operation, base, total)
        if self.include_self and self.reduce != "mean":
            return ar.cast(ctx, total, x.dtype)
        count = counted(ctx, hit, self.axis, dtype)
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
    first, second = (ar.unary(ctx, "ISNAN", part, "isnan") for part in (base, total))
    return ar.where(ctx, ar.elementwise(ctx, "OR", first, second, "isnan"), math.nan, result, "joined")


# --- one place for each element --------------------------------------------------------------------------------------
def _scatter_work(call: Call) -> Sequence[Any]:
    x = call.value("self")
    return [*call.value("index").shape, x.shape[call.value("dim")] if x.dim() else 1]


_SCATTER = [rank_of("self", 0, 7), limited_work("`index` times the size of `dim`", _scatter_work)]


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
    update = _Update(reduce, axis, include_self)
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
def _slice_work(call: Call) -> Sequence[Any]:
    x = call.value("self")
    return [*call.value("source").shape, x.shape[call.value("dim")] if x.dim() else 1]


_SLICES = [rank_of("self", 0, 7), limited_work("`source` times the size of `dim`", _slice_work)]


@FAMILY.converter(aten.index_add.default, conditions=_SLICES, composite=True)
def index_add(ctx: ConverterContext, call: Call) -> Tensor:
    """alpha times the slices of a tensor added at the places of a vector."""
    source, alpha = ctx.tensor(call.arg("source")), call.value("alpha")
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
    written = _Update(reduce, axis, include_self).apply(ctx, x, places, source)
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


def _put_work(call: Call) -> Sequence[Any]:
    x, indices = call.value("self"), call.value("indices")
    if not call.value("accumulate") or any(map(_is_mask, indices)):
        return []
    places = shapes.broadcast(*_aligned([index.shape for index in indices if index is not None]))
    return [*x.shape, *places]


def _put_rank(call: Call) -> str | None:
    indices = call.value("indices")
    rest = call.value("self").dim() - sum(index is not None for index in indices)
    if not call.value("accumulate") or any(map(_is_mask, indices)) or rest <= 6:
        return None
    return f"{call.op}: {rest} dimensions of self are not indexed, but to add values there must be at most 6"


@FAMILY.converter(
    aten.index_put.default,
    aten._unsafe_index_put.default,
    conditions=[
        Condition("TP204", "an index that is a mask stands alone", _mask_among_indices),
        Condition("TP202", "with `accumulate`, at most 6 dimensions are not indexed", _put_rank),
        limited_work("with `accumulate`, `self` times the number of places", _put_work),
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
        written = _Update("sum", 0).apply(ctx, places.rows, column, updates)
    else:
        column = shapes.reshape(ctx, places.linear, (count, 1), "column")
        layer = ctx.network.add_scatter(places.rows.trt, column.trt, updates.trt, ctx.trt.ScatterMode.ND)
        written = ctx.emit(layer, places.rows.shape)
    order = [*places.axes, *places.rest]
    spread = shapes.reshape(ctx, written, [x.shape[axis] for axis in order], "spread")
    return shapes.permute(ctx, spread, [order.index(axis) for axis in range(x.rank)], "back")


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
    rows = gathered(ctx, values, _running_place(ctx, mask, values.shape[0]), 0, "rows")
    wide = (*mask.shape, *values.shape[1:])
    return shapes.reshape(ctx, rows, wide, "rows")


def _running_place(ctx: ConverterContext, mask: Tensor, count: Dim) -> Tensor:
    """For each element of the flattened mask, how many True ones come before it, at most count - 1."""
    flags = ar.cast(ctx, shapes.flatten(ctx, mask, role="flat"), torch.int64, "flags")
    kind = ctx.trt.CumulativeOperation.SUM
    layer = ctx.network.add_cumulative(flags.trt, ctx.scalar(0, torch.int32).trt, kind, True, False)
    before = ctx.emit(layer, flags.shape, "before")
    last = simplified(count - 1)
    most: Tensor | int = last if isinstance(last, int) else shapes.reshape(ctx, ctx.sizes.tensor(last), (), "size")
    return ar.clamp(ctx, before, None, most, "place")


@FAMILY.converter(aten.masked_scatter.default)
def masked_scatter(ctx: ConverterContext, call: Call) -> Tensor:
    """The elements of `source`, one after the other, wherever the mask is True."""
    x, mask, source = (ctx.tensor(call.arg(name)) for name in ("self", "mask", "source"))
    shape = dims_of(call.out.shape)
    if 0 in shape or 0 in source.shape:
        return shapes.expand(ctx, x, shape)
    x, mask = shapes.expand(ctx, x, shape, "self"), shapes.expand(ctx, mask, shape, "mask")
    flat = shapes.flatten(ctx, source, role="source")
    place = _running_place(ctx, mask, flat.shape[0])
    values = shapes.reshape(ctx, gathered(ctx, flat, place, 0, "values"), shape, "values")
    return ar.where(ctx, mask, values, x)
