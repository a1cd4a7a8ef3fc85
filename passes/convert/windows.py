"""Windows as gathered elements: for what a pooling layer cannot do, such as the places of maxima or dilation.

A window that reaches over the border reads its own first or last element again, which changes no maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...compiler.ir.symbols import Dim, product, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.tensor import Tensor, is_float
from .indexing import gathered

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext


@dataclass(frozen=True)
class Windows:
    """Where the windows along one dimension lie: `count` of them, `kernel` elements each, over `size` elements."""

    size: Dim
    count: Dim
    kernel: int
    stride: int
    padding: int
    dilation: int

    def places(self, ctx: ConverterContext) -> Tensor:
        """The place of every element of every window, int64 [count, kernel]."""
        if isinstance(self.size, int) and isinstance(self.count, int):
            return ctx.constant(self._numbers(self.size, self.count), "places")
        starts = shapes.unsqueeze(ctx, shapes.ramp(ctx, self.count, -self.padding, self.stride, "starts"), 1, "starts")
        step = ctx.scalar(self.dilation, torch.int64, 2)
        skipped = ar.clamp(ctx, ar.unary(ctx, "NEG", ar.floor_divide(ctx, starts, step)), 0, None, "skipped")
        first = ar.add(ctx, starts, ar.multiply(ctx, skipped, self.dilation), "first")
        border = shapes.reshape(ctx, ctx.sizes.tensor(simplified(self.size - 1)), (1, 1), "border")
        room = ar.floor_divide(ctx, ar.elementwise(ctx, "SUB", border, starts), step)
        last = ar.add(ctx, starts, ar.multiply(ctx, room, self.dilation), "last")
        offsets = ctx.constant(torch.arange(self.kernel).unsqueeze(0) * self.dilation, "offsets")
        places = ar.clamp(ctx, ar.add(ctx, starts, offsets, "places"), first, last, "places")
        return places if self.dilation == 1 else ar.clamp(ctx, places, 0, border, "places")

    def missed(self, ctx: ConverterContext) -> Tensor | None:
        """Which windows have no element of the dimension, bool [count]; None if all have some.

        It takes elements of a window that lie further apart than the dimension is long.
        """
        if self.dilation == 1 or (isinstance(self.size, int) and self.size >= self.dilation):
            return None
        starts = shapes.unsqueeze(ctx, shapes.ramp(ctx, self.count, -self.padding, self.stride, "starts"), 1, "starts")
        offsets = ctx.constant(torch.arange(self.kernel).unsqueeze(0) * self.dilation, "offsets")
        places = ar.add(ctx, starts, offsets, "places")
        inside = ar.clamp(ctx, places, 0, ctx.scalar(simplified(self.size - 1)), "inside")
        outside = ar.invert(ctx, ar.compare(ctx, "EQUAL", places, inside, "within"), "outside")
        return ar.any_of(ctx, outside, [1], False, every=True)

    def _numbers(self, size: int, count: int) -> torch.Tensor:
        starts = torch.arange(count).unsqueeze(1) * self.stride - self.padding
        first = starts + (-(starts // self.dilation)).clamp(min=0) * self.dilation
        last = starts + (size - 1 - starts) // self.dilation * self.dilation
        return (starts + torch.arange(self.kernel) * self.dilation).clamp(first, last).clamp(0, size - 1)


def even_places(ctx: ConverterContext, size: Dim, count: int) -> Tensor:
    """The places of `count` windows that divide a dimension as evenly as possible, [count, longest window]."""
    if count == 1:
        return shapes.unsqueeze(ctx, shapes.ramp(ctx, size, role="places"), 0, "places")
    assert isinstance(size, int)
    starts = torch.arange(count) * size // count
    ends = -(-(torch.arange(1, count + 1) * size) // count)
    places = starts.unsqueeze(1) + torch.arange(int((ends - starts).max()))
    return ctx.constant(places.clamp(max=(ends - 1).unsqueeze(1)), "places")


def maxima(
    ctx: ConverterContext, x: Tensor, places: Sequence[Tensor | None], want_indices: bool
) -> tuple[Tensor, Tensor | None]:
    """The greatest element of every window of the last dimensions, and its place in them flattened.

    `places` has one [count, kernel] tensor for each of the last dimensions, or None where every element is a window.
    Of equal elements the first counts. One dimension after the other: of the greatest elements in the rows of a
    window, the first greatest one is the window's.
    """
    lead = x.rank - len(places)
    sizes = x.shape[lead:]
    indices: Tensor | None = None
    for axis, place in reversed(list(enumerate(places, start=lead))):
        behind = product(sizes[axis - lead + 1 :])
        if place is None:
            if want_indices:
                indices = _offset(ctx, indices, shapes.ramp(ctx, x.shape[axis], role="places"), behind, x.rank, axis)
            continue
        values = gathered(ctx, x, place, axis, "windows")
        greatest = ar.reduce(ctx, "MAX", values, [axis + 1], True, "maximum")
        if want_indices:
            known = None if indices is None else _in_windows(ctx, indices, x.shape[axis], place, axis)
            indices = _offset(ctx, known, place, behind, values.rank, axis)
            found = ar.where(ctx, _hits(ctx, values, greatest), indices, torch.iinfo(torch.int64).max, "found")
            indices = ar.reduce(ctx, "MIN", found, [axis + 1], role="place")
        x = shapes.reshape(ctx, greatest, (*values.shape[: axis + 1], *values.shape[axis + 2 :]), "maximum")
    if indices is not None:
        indices = shapes.expand(ctx, indices, x.shape, "places")
    return x, indices


def _in_windows(ctx: ConverterContext, indices: Tensor, size: Dim, place: Tensor, axis: int) -> Tensor:
    if indices.shape[axis] == 1 and size != 1:
        # The same along this dimension.
        return shapes.unsqueeze(ctx, indices, axis + 1, "windows")
    return gathered(ctx, indices, place, axis, "windows")


def _offset(ctx: ConverterContext, inner: Tensor | None, place: Tensor, behind: Dim, rank: int, axis: int) -> Tensor:
    """Places in a dimension as places in it and those behind it, flattened; `inner` has the places in those."""
    shape = (*(1,) * axis, *place.shape, *(1,) * (rank - axis - place.rank))
    place = shapes.reshape(ctx, place, shape, "places")
    if inner is None and behind == 1:
        return place
    outer = ar.multiply(ctx, place, ctx.scalar(behind), "offset")
    return outer if inner is None else ar.add(ctx, outer, inner, "places")


def _hits(ctx: ConverterContext, values: Tensor, greatest: Tensor) -> Tensor:
    hit = ar.elementwise(ctx, "EQUAL", values, greatest, "hit")
    if not is_float(values.dtype):
        return hit
    return ar.elementwise(ctx, "OR", hit, ar.unary(ctx, "ISNAN", values, "isnan"), "hit")
