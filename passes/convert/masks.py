"""Places where a mask is True. How many there are depends on values, and TensorRT-RTX cannot build that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, product
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Requirement
from ...compiler.tensorrt.tensor import Tensor

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

_MASKS = (torch.bool, torch.uint8)


def has_mask(call: Call) -> bool:
    """Whether an index of `aten.index` is a mask, so that the size of its result depends on values."""
    return any(index is not None and index.dtype in _MASKS for index in call.value("indices"))


NONZERO = Requirement("can_build_nonzero", "INonZeroLayer")
NONZERO_FOR_MASKS = Requirement("can_build_nonzero", "INonZeroLayer", has_mask)


def places_where(ctx: ConverterContext, mask: Tensor, count: Dim) -> Tensor:
    """The places of the True elements of a mask, in order, int64 [count, rank]; `count` is their number's symbol."""
    if not mask.rank:
        # A scalar has no coordinates; it is there once or not at all.
        mask = shapes.reshape(ctx, mask, (1,), "row")
        found = places_where(ctx, mask, count)
        return shapes.slice_axis(ctx, found, 1, 0, 0, role="no_coordinates")
    columns = ctx.emit(ctx.network.add_non_zero(mask.trt), (mask.rank, count), "nonzero")
    places = ar.cast(ctx, shapes.permute(ctx, columns, (1, 0), "rows"), torch.int64, "places")
    ctx.sizes.define(count, places, 0)
    return places


def gathered_at(ctx: ConverterContext, x: Tensor, places: Tensor, role: str = "") -> Tensor:
    """Elements (or slices) of `x` at places [count, n] in its first n dimensions."""
    layer = ctx.network.add_gather_v2(x.trt, places.trt, ctx.trt.GatherMode.ND)
    covered: Any = places.shape[1]
    return ctx.emit(layer, (places.shape[0], *x.shape[covered:]), role)


def masked_elements(ctx: ConverterContext, call: Call) -> Tensor:
    """`x[:, mask]`: the slices of adjacent dimensions where one mask is True."""
    x, indices = ctx.tensor(call.arg("self")), call.arg("indices")
    ((axis, index),) = ((axis, item) for axis, item in enumerate(indices) if item is not None)
    mask = ar.cast(ctx, ctx.tensor(index), torch.bool, "mask")
    covered = range(axis, axis + mask.rank)
    rest = [dim for dim in range(x.rank) if dim not in covered]
    moved = shapes.permute(ctx, x, [*covered, *rest], "front")
    if not mask.rank:
        moved = shapes.unsqueeze(ctx, moved, 0, "front")
        mask = shapes.reshape(ctx, mask, (1,), "mask")
    count = shapes.size_of(call.out.shape[axis])
    result = gathered_at(ctx, moved, places_where(ctx, mask, count), "taken")
    order = [*range(1, axis + 1), 0, *range(axis + 1, result.rank)]
    return shapes.permute(ctx, result, order, "back")


def rows_of(ctx: ConverterContext, x: Tensor) -> Tensor:
    """All elements in a row."""
    return shapes.reshape(ctx, x, (product(x.shape),), "row")
