"""Combining values that meet at one place: sums, products and extremes.

TensorRT's scatter layers overwrite. Where values may meet, there are two ways. If they are few, every place asks all
values: a comparison of the places with 0, 1, …, size - 1 masks the values, and one reduction combines them. If they
are many, they are brought in order of their places, combined within runs of equal places in log2(K) steps, and the
last of each run, which has them all, is written. Unlike a product with a one-hot matrix, both hold for integers too,
for products and extremes, and next to infinities and NaNs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from ...compiler.ir.symbols import Dim, product, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.tensor import Tensor, is_float, is_integer
from .conditions import MAX_WORK, largest
from .indexing import gathered, written_elements
from .sorting import ordered

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext


@dataclass(frozen=True)
class Destinations(ABC):
    """Where values go: `places` [..., K, ...] along `axis`; the other dimensions may be 1.

    Places are from 0 to `size` - 1, or negative for values that go nowhere.
    """

    ctx: ConverterContext
    places: Tensor
    axis: int
    size: Dim

    @classmethod
    def of(cls, ctx: ConverterContext, places: Tensor, axis: int, size: Dim, most: int | None) -> Destinations:
        """The destinations of at most `most` values in a row, or (None) of so few that all are compared with all."""
        if most is None:
            return _ByMask(ctx, places, axis, size)
        return _ByOrder(ctx, places, axis, size, most)

    def total(self, operation: str, values: Tensor) -> Tensor:
        """SUM, PROD, MAX or MIN of the values [..., K, ...] at every place: [..., size, ...]; neutral where none is."""
        neutral = _neutral(operation, values.dtype)
        if operation in ("SUM", "PROD") or not is_float(values.dtype):
            return self._combined(operation, values, neutral)
        unknown = ar.unary(self.ctx, "ISNAN", values, "isnan")
        known = ar.where(self.ctx, unknown, neutral, values, "known")
        met = self._combined("MAX", ar.cast(self.ctx, unknown, torch.int32, "isnan"), 0)
        result = self._combined(operation, known, neutral)
        return ar.where(self.ctx, ar.compare(self.ctx, "GREATER", met, 0, "isnan"), math.nan, result, "extreme")

    def count(self, dtype: torch.dtype) -> Tensor:
        """How many values go to each place, in a numeric dtype."""
        return self._combined("SUM", ar.full_like(self.ctx, self.places, 1, dtype), 0)

    @abstractmethod
    def _combined(self, operation: str, values: Tensor, neutral: float) -> Tensor: ...


class _ByMask(Destinations):
    @cached_property
    def _hit(self) -> Tensor:
        """Which value goes where, bool [..., K, size, ...]."""
        ctx, axis = self.ctx, self.axis
        column = shapes.unsqueeze(ctx, self.places, axis + 1, "column")
        shape = (*(1,) * (axis + 1), self.size, *(1,) * (self.places.rank - 1 - axis))
        row = shapes.reshape(ctx, shapes.ramp(ctx, self.size), shape, "row")
        return ar.compare(ctx, "EQUAL", column, row, "hits")

    def _combined(self, operation: str, values: Tensor, neutral: float) -> Tensor:
        column = shapes.unsqueeze(self.ctx, values, self.axis + 1, "values")
        masked = ar.where(self.ctx, self._hit, column, neutral, "masked")
        return ar.reduce(self.ctx, operation, masked, [self.axis], role="combined")


@dataclass(frozen=True)
class _ByOrder(Destinations):
    most: int

    @property
    def _in_rows(self) -> bool:
        """Whether the places are the same in all other dimensions."""
        return all(size == 1 for axis, size in enumerate(self.places.shape) if axis != self.axis)

    @cached_property
    def _ordered(self) -> tuple[Tensor, Tensor]:
        """The places in order, and which value belongs to each."""
        places = ar.cast(self.ctx, self.places, torch.int64)
        if not self._in_rows:
            return ordered(self.ctx, places, self.axis, self.most, descending=False)
        row = shapes.flatten(self.ctx, places, role="places")
        sorted_row, order = ordered(self.ctx, row, 0, self.most, descending=False)
        return shapes.reshape(self.ctx, sorted_row, places.shape, "places"), order

    @cached_property
    def _joins(self) -> list[tuple[int, Tensor]]:
        """Distances 1, 2, 4, …, each with a mask of the places that equal the one so far before them."""
        places, _ = self._ordered
        joins = []
        for far in (1 << step for step in range((self.most - 1).bit_length())):
            joins.append((far, ar.compare(self.ctx, "EQUAL", self._moved(places, far, -1), places, "joins")))
        return joins

    def _combined(self, operation: str, values: Tensor, neutral: float) -> Tensor:
        _, order = self._ordered
        values = self._taken(values, order)
        # After each step a value holds those of twice as many places before it, as far as they are its own.
        for far, joins in self._joins:
            both = ar.elementwise(self.ctx, operation, self._moved(values, far, neutral), values, "both")
            values = ar.where(self.ctx, joins, both, values, "run")
        return self._written(values, neutral)

    def _taken(self, values: Tensor, order: Tensor) -> Tensor:
        if self._in_rows:
            return gathered(self.ctx, values, order, self.axis, "ordered")
        values = shapes.expand(self.ctx, values, order.shape, "values")
        layer = self.ctx.network.add_gather_v2(values.trt, order.trt, self.ctx.trt.GatherMode.ELEMENT)
        layer.axis = self.axis
        return self.ctx.emit(layer, order.shape, "ordered")

    def _moved(self, x: Tensor, far: int, value: float) -> Tensor:
        """The elements `far` places before (negative: after), `value` where there are none."""
        shift = [far if axis == self.axis else 0 for axis in range(x.rank)]
        back = [-amount for amount in shift]
        return shapes.pad(self.ctx, x, shift, back, self.ctx.scalar(value, x.dtype), role="moved")

    def _written(self, values: Tensor, neutral: float) -> Tensor:
        """The last value of each run at its place; all others go to a place behind the last, which is cut off."""
        ctx, axis = self.ctx, self.axis
        places, _ = self._ordered
        more = ar.compare(ctx, "EQUAL", self._moved(places, -1, -1), places, "more")
        nowhere = ar.elementwise(ctx, "OR", more, ar.compare(ctx, "LESS", places, 0, "negative"), "nowhere")
        targets = ar.where(ctx, nowhere, ctx.scalar(self.size), places, "targets")
        shape = [simplified(self.size + 1) if dim == axis else size for dim, size in enumerate(values.shape)]
        base = shapes.full(ctx, shape, ctx.scalar(neutral, values.dtype, values.rank), "base")
        if self._in_rows:
            base, values = (shapes.swap(ctx, part, 0, axis, "front") for part in (base, values))
            column = shapes.reshape(ctx, targets, (product(targets.shape), 1), "targets")
            layer = ctx.network.add_scatter(base.trt, column.trt, values.trt, ctx.trt.ScatterMode.ND)
            written = shapes.swap(ctx, ctx.emit(layer, base.shape, "written"), 0, axis, "back")
        else:
            written = written_elements(ctx, base, targets, values, axis)
        return shapes.slice_axis(ctx, written, axis, 0, self.size, role="combined")


def most_values(sizes: Sequence[Any], count: Any) -> int | None:
    """None if comparing all with all, of these `sizes`, is at most `MAX_WORK`; else the most values there can be."""
    return None if math.prod(map(largest, sizes)) <= MAX_WORK else largest(count)


def _neutral(operation: str, dtype: torch.dtype) -> float:
    if operation in ("SUM", "PROD"):
        return {"SUM": 0, "PROD": 1}[operation] if is_integer(dtype) else {"SUM": 0.0, "PROD": 1.0}[operation]
    if is_float(dtype):
        return -math.inf if operation == "MAX" else math.inf
    limits = torch.iinfo(dtype)
    return limits.min if operation == "MAX" else limits.max
