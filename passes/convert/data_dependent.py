"""Operators that find elements by their values. Their results have as many elements as are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, product, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import Tensor
from .conditions import MAX_WORK, largest, value_is
from .masks import NONZERO, gathered_at, places_where, rows_of
from .sorting import MAX_K, ordered, selected

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("data_dependent")


@FAMILY.converter(aten.nonzero.default, requires=[NONZERO])
def nonzero(ctx: ConverterContext, call: Call) -> Tensor:
    """The places of the non-zero elements, [count, rank]."""
    mask = ar.cast(ctx, ctx.tensor(call.arg("self")), torch.bool, "mask")
    return places_where(ctx, mask, shapes.size_of(call.out.shape[0]))


def _searched(call: Call) -> str | None:
    size = largest(call.value("self").numel()) + call.value("size")
    return None if size <= MAX_WORK else f"{call.op}: it looks for places among {size} elements, but at most {MAX_WORK}"


@FAMILY.converter(
    aten.nonzero_static.default,
    conditions=[Condition("TP205", f"the elements and `size` are together at most {MAX_WORK}", _searched)],
)
def nonzero_static(ctx: ConverterContext, call: Call) -> Tensor:
    """The places of the first `size` non-zero elements, [size, rank]; a fill value stands for those that are missing.

    The size is fixed, so every TensorRT builds it: the places in the flattened tensor are put in order, and those of
    zeros count as infinitely far.
    """
    x, size, fill = ctx.tensor(call.arg("self")), call.value("size"), call.value("fill_value")
    if not x.rank or not size:
        return ctx.constant(torch.zeros((size, x.rank), dtype=torch.int64))
    if 0 in x.shape:
        return ctx.constant(torch.full((size, x.rank), fill, dtype=torch.int64))
    row = rows_of(ctx, ar.cast(ctx, x, torch.bool, "mask"))
    far = torch.iinfo(torch.int64).max
    places = ar.where(ctx, row, shapes.ramp(ctx, row.shape[0]), far, "place")
    places = shapes.pad(ctx, places, [0], [size], ctx.scalar(far, torch.int64), role="padded")
    most = largest(call.value("self").numel()) + size
    found = selected(ctx, "MIN", places, 0, size)[0] if size <= MAX_K else ordered(ctx, places, 0, most, False)[0]
    found = shapes.slice_axis(ctx, found, 0, 0, size, role="first")
    missing = ar.compare(ctx, "EQUAL", found, far, "missing")
    columns = [ar.where(ctx, missing, fill, column, "column") for column in _coordinates(ctx, found, x.shape)]
    return shapes.concatenate(ctx, [shapes.unsqueeze(ctx, column, 1, "column") for column in columns], 1)


def _coordinates(ctx: ConverterContext, places: Tensor, shape: Sequence[Dim]) -> list[Tensor]:
    """Places in a flattened tensor as one vector of coordinates per dimension."""
    columns = []
    for size in reversed(shape):
        length: Tensor | int = (
            size if isinstance(size, int) else shapes.reshape(ctx, ctx.sizes.tensor(size), (), "size")
        )
        left, right = ar.pair(ctx, places, length, torch.int64)
        columns.append(ar.remainder(ctx, left, right, sign_of_divisor=True, role="coordinate"))
        places = ar.floor_divide(ctx, left, right, "outer")
    return columns[::-1]


@FAMILY.converter(aten.masked_select.default, requires=[NONZERO])
def masked_select(ctx: ConverterContext, call: Call) -> Tensor:
    """The elements where a mask is True, in a row; both are broadcast."""
    x, mask = ctx.tensor(call.arg("self")), ctx.tensor(call.arg("mask"))
    rank = max(x.rank, mask.rank)
    x, mask = shapes.with_rank(ctx, x, rank), shapes.with_rank(ctx, mask, rank)
    shape = shapes.broadcast(x.shape, mask.shape)
    x, mask = (rows_of(ctx, shapes.expand(ctx, part, shape, "wide")) for part in (x, mask))
    return gathered_at(ctx, x, places_where(ctx, mask, shapes.size_of(call.out.shape[0])))


@FAMILY.converter(aten._unique2.default, requires=[NONZERO])
def unique(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """The different elements in order; where each element went, and how often each occurs."""
    x = ctx.tensor(call.arg("self"))
    row = rows_of(ctx, x)
    values, indices = ordered(ctx, row, 0, largest(call.value("self").numel()), descending=False)
    runs = _Runs(ctx, call, values)
    inverse = None
    if call.value("return_inverse"):
        layer = ctx.network.add_scatter(indices.trt, indices.trt, runs.number().trt, ctx.trt.ScatterMode.ELEMENT)
        inverse = shapes.reshape(ctx, ctx.emit(layer, indices.shape, "inverse"), x.shape, "inverse")
    return runs.values(), inverse, runs.lengths() if call.value("return_counts") else None


@FAMILY.converter(
    aten.unique_consecutive.default,
    requires=[NONZERO],
    conditions=[value_is("dim", lambda dim: dim is None, "None")],
)
def unique_consecutive(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """One element for each run of equal ones; the run of each element, and how long each is."""
    x = ctx.tensor(call.arg("self"))
    runs = _Runs(ctx, call, rows_of(ctx, x))
    inverse = shapes.reshape(ctx, runs.number(), x.shape, "inverse") if call.value("return_inverse") else None
    return runs.values(), inverse, runs.lengths() if call.value("return_counts") else None


class _Runs:
    """The runs of equal elements of a vector."""

    def __init__(self, ctx: ConverterContext, call: Call, row: Tensor) -> None:
        self._ctx, self._row = ctx, row
        self._size: Dim = product(row.shape)
        self._count = shapes.size_of(call.out[0].shape[0])
        before = shapes.pad(ctx, row, [1], [-1], mode="CLAMP", role="before")
        same = ar.elementwise(ctx, "EQUAL", row, before, "same")
        first = ar.compare(ctx, "EQUAL", shapes.ramp(ctx, self._size), 0, "first")
        self._starts = ar.elementwise(ctx, "OR", first, ar.invert(ctx, same, "different"), "start")
        self._places = places_where(ctx, self._starts, self._count)

    def values(self) -> Tensor:
        return gathered_at(self._ctx, self._row, self._places, "values")

    def number(self) -> Tensor:
        """The number of the run of each element, from 0."""
        starts = ar.cast(self._ctx, self._starts, torch.int64, "starts")
        axis = self._ctx.scalar(0, torch.int32)
        kind = self._ctx.trt.CumulativeOperation.SUM
        layer = self._ctx.network.add_cumulative(starts.trt, axis.trt, kind, False, False)
        return ar.binary(self._ctx, "SUB", self._ctx.emit(layer, starts.shape, "passed"), 1, "run")

    def lengths(self) -> Tensor:
        """From each start to the next one, or to the end."""
        starts = shapes.reshape(self._ctx, self._places, (self._count,), "starts")
        end = shapes.reshape(self._ctx, self._ctx.sizes.tensor(self._size), (1,), "end")
        ends = shapes.concatenate(self._ctx, [starts, end], 0, "ends")
        following = shapes.slice_axis(self._ctx, ends, 0, 1, simplified(self._count), role="following")
        return ar.elementwise(self._ctx, "SUB", following, starts, "lengths")
