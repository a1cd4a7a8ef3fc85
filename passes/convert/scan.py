"""Running products, extremes and sums of exponentials.

TensorRT scans sums only. The others are scanned by doubling: after step k every element combines the 2**k elements up
to it, so a dimension of size n takes log2(n) steps. The elements before the first are neutral, so sizes may be dynamic:
the number of steps follows from the greatest size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import Tensor, is_float
from .conditions import FLOATS, dtype_of, upper_bound

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("scan")


def _distances(call: Call) -> Iterator[int]:
    """1, 2, 4, … below the upper bound of the scanned dimension; without one, enough for every size."""
    size = upper_bound(call.value("self").shape[call.value("dim")])
    distance = 1
    while distance < size:
        yield distance
        distance *= 2


def _before(ctx: ConverterContext, x: Tensor, axis: int, distance: int, neutral: float) -> Tensor:
    """The elements `distance` before each one along an axis; `neutral` where there are none."""
    before, after = [0] * x.rank, [0] * x.rank
    before[axis], after[axis] = distance, -distance
    return shapes.pad(ctx, x, before, after, ctx.scalar(neutral, x.dtype), role="before")


@FAMILY.converter(aten.cumprod.default, wide=True)
def running_product(ctx: ConverterContext, call: Call) -> Tensor:
    """The running product along a dimension, of integers and booleans as int64."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    if not x.rank or 0 in x.shape:
        return x
    axis = x.axis(call.value("dim"))
    for distance in _distances(call):
        x = ar.elementwise(ctx, "PROD", x, _before(ctx, x, axis, distance, 1), "product")
    return x


@FAMILY.converter(aten.logcumsumexp.default, conditions=[dtype_of("self", FLOATS)], wide=True)
def running_logsumexp(ctx: ConverterContext, call: Call) -> Tensor:
    """The logarithm of the running sum of exponentials, without overflow."""
    x = ctx.tensor(call.arg("self"))
    if not x.rank or 0 in x.shape:
        return x
    axis = x.axis(call.value("dim"))
    for distance in _distances(call):
        x = _log_sum(ctx, x, _before(ctx, x, axis, distance, -math.inf))
    return x


def _log_sum(ctx: ConverterContext, left: Tensor, right: Tensor) -> Tensor:
    """log(exp(left) + exp(right)) = max + log(1 + exp(-|left - right|)); NaN if either is."""
    apart = ar.unary(ctx, "ABS", ar.elementwise(ctx, "SUB", left, right, "difference"), "apart")
    # Infinities of equal sign have no difference.
    alike = ar.elementwise(ctx, "EQUAL", left, right, "alike")
    gap = ar.where(ctx, alike, 0.0, apart, "gap")
    ratio = ar.unary(ctx, "EXP", ar.unary(ctx, "NEG", gap, "negative"), "ratio")
    more = ar.unary(ctx, "LOG", ar.binary(ctx, "SUM", ratio, 1.0, "sum"), "more")
    return ar.elementwise(ctx, "SUM", ar.elementwise(ctx, "MAX", left, right, "max"), more, "logsumexp")


@FAMILY.converter(aten.cummax.default, aten.cummin.default)
def running_extreme(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The running greatest or least element along a dimension and its index, of equal ones the last; NaN beats all."""
    x = ctx.tensor(call.arg("self"))
    if not x.rank:
        return x, ctx.scalar(0, torch.int64)
    axis = x.axis(call.value("dim"))
    values = ar.cast(ctx, x, torch.int32, "wide") if x.dtype == torch.bool else x
    places = _places_along(ctx, x, axis)
    if 0 in x.shape:
        return x, places
    operation = "GREATER" if call.target is aten.cummax.default else "LESS"
    for distance in _distances(call):
        older = _before(ctx, values, axis, distance, _least(operation, values.dtype))
        earlier = _before(ctx, places, axis, distance, 0)
        newer = ar.compare_or_equal(ctx, operation, values, older, "newer")
        if is_float(values.dtype):
            newer = ar.elementwise(ctx, "OR", newer, ar.unary(ctx, "ISNAN", values, "isnan"), "newer")
        values = ar.where(ctx, newer, values, older, "value")
        places = ar.where(ctx, newer, places, earlier, "place")
    return ar.cast(ctx, values, x.dtype), places


def _places_along(ctx: ConverterContext, x: Tensor, axis: int) -> Tensor:
    size = x.shape[axis]
    shape = tuple(size if dim == axis else 1 for dim in range(x.rank))
    return shapes.expand(ctx, shapes.reshape(ctx, shapes.ramp(ctx, size), shape, "places"), x.shape, "places")


def _least(operation: str, dtype: torch.dtype) -> float:
    """What every element beats: in running maxima the least value of the type."""
    if is_float(dtype):
        return -math.inf if operation == "GREATER" else math.inf
    limits = torch.iinfo(dtype)
    return limits.min if operation == "GREATER" else limits.max
