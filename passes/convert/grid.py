"""Elements at fractional places that a grid gives."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, dims_of, product, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import Tensor
from .conditions import FLOATS, dtype_of

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("grid")

_INTERPOLATIONS = ("LINEAR", "NEAREST", "CUBIC")
_BORDERS = ("FILL", "CLAMP", "REFLECT")


def _interpolation(call: Call) -> str | None:
    if call.value("input").dim() != 5 or call.value("interpolation_mode") in (0, 1):
        return None
    return f"{call.op}: volumes are interpolated linearly or by the nearest element, not bicubically"


@FAMILY.converter(
    aten.grid_sampler.default,
    aten.grid_sampler_2d.default,
    aten.grid_sampler_3d.default,
    conditions=[
        dtype_of("input", FLOATS),
        Condition("TP205", "volumes are interpolated linearly or by the nearest element", _interpolation),
    ],
    composite=True,
)
def grid_sampler(ctx: ConverterContext, call: Call) -> Tensor:
    """Elements of an image or volume at fractional places, from -1 to 1, that a grid gives."""
    if call.value("input").dim() == 5:
        return _volume(ctx, call)
    # In f32, as PyTorch's kernels for devices do: a half cannot name the places of an image of 2048 or more.
    x, grid = (ar.cast(ctx, ctx.tensor(call.arg(name)), torch.float32, "wide") for name in ("input", "grid"))
    layer = ctx.network.add_grid_sample(x.trt, grid.trt)
    if layer is not None:
        layer.interpolation_mode = getattr(ctx.trt.InterpolationMode, _INTERPOLATIONS[call.value("interpolation_mode")])
        layer.sample_mode = getattr(ctx.trt.SampleMode, _BORDERS[call.value("padding_mode")])
        layer.align_corners = call.value("align_corners")
    return ar.cast(ctx, ctx.emit(layer, dims_of(call.out.shape)), call.out.dtype)


# --- volumes, which TensorRT's layer does not take -------------------------------------------------------------------
def _volume(ctx: ConverterContext, call: Call) -> Tensor:
    x, grid = (ar.cast(ctx, ctx.tensor(call.arg(name)), torch.float32, "wide") for name in ("input", "grid"))
    batch, channels, *sizes = x.shape
    count = product(grid.shape[1:4])
    rows = shapes.reshape(ctx, x, (batch, channels, product(sizes)), "rows")
    rows = shapes.swap(ctx, rows, 1, 2, "rows")
    points = shapes.reshape(ctx, grid, (batch, count, 3), "points")
    # The grid names the last dimension first.
    places = [_place(ctx, call, shapes.select_index(ctx, points, 2, 2 - axis), sizes[axis]) for axis in range(3)]
    corners = _nearest(ctx, places) if call.value("interpolation_mode") == 1 else _corners(ctx, places)
    total: Tensor | None = None
    for weight, corner in corners:
        part = _weighted(ctx, rows, corner, sizes, weight)
        total = part if total is None else ar.elementwise(ctx, "SUM", total, part, "sum")
    assert total is not None
    result = shapes.reshape(ctx, shapes.swap(ctx, total, 1, 2, "channels"), dims_of(call.out.shape), "shape")
    return ar.cast(ctx, result, call.out.dtype)


def _place(ctx: ConverterContext, call: Call, coordinate: Tensor, size: Dim) -> Tensor:
    """Coordinates from -1 to 1 as places from 0 to size - 1, those outside as the padding mode says, f32 [N, P]."""
    aligned, mode = call.value("align_corners"), call.value("padding_mode")
    length = ar.cast(ctx, ctx.scalar(size), torch.float32)
    last = ar.cast(ctx, ctx.scalar(simplified(size - 1)), torch.float32)
    half = ar.multiply(ctx, ar.add(ctx, coordinate, 1.0, "shifted"), 0.5, "half")
    place = ar.multiply(ctx, half, last if aligned else length, "place")
    if not aligned:
        place = ar.binary(ctx, "SUB", place, 0.5, "place")
    if mode == 2:
        place = _reflected(ctx, place, 0.0 if aligned else -0.5, last if aligned else length)
    return ar.clamp(ctx, place, 0.0, last, "place") if mode else place


def _reflected(ctx: ConverterContext, place: Tensor, low: float, span: Tensor) -> Tensor:
    """Places mirrored at `low` and `low` + `span`, as often as needed; all at 0 if there is nothing between them."""
    away = ar.unary(ctx, "ABS", ar.binary(ctx, "SUB", place, low, "from_border"), "away")
    wide = shapes.with_rank(ctx, ar.clamp(ctx, span, 1.0, None, "span"), place.rank)
    period = ar.multiply(ctx, wide, 2.0, "period")
    rest = ar.remainder(ctx, away, period, sign_of_divisor=True, role="rest")
    back = ar.elementwise(ctx, "SUB", period, rest, "back")
    folded = ar.add(ctx, ar.elementwise(ctx, "MIN", rest, back, "folded"), low, "mirrored")
    return ar.where(ctx, ar.compare(ctx, "GREATER", span, 0.0, "wide"), folded, 0.0, "place")


_Corner = tuple[Tensor | None, list[Tensor]]
"""The weight of some places (None: 1), and the places in each dimension."""


def _nearest(ctx: ConverterContext, places: Sequence[Tensor]) -> list[_Corner]:
    return [(None, [ar.unary(ctx, "ROUND", place, "nearest") for place in places])]


def _corners(ctx: ConverterContext, places: Sequence[Tensor]) -> list[_Corner]:
    """The eight corners of the cells in which the places lie."""
    sides = []
    for place in places:
        below = ar.unary(ctx, "FLOOR", place, "below")
        fraction = ar.elementwise(ctx, "SUB", place, below, "fraction")
        rest = ar.binary(ctx, "SUB", 1.0, fraction, "rest")
        sides.append(((below, rest), (ar.add(ctx, below, 1.0, "above"), fraction)))
    corners: list[_Corner] = []
    for (first, a), (second, b), (third, c) in itertools.product(*sides):
        weight = ar.elementwise(ctx, "PROD", ar.elementwise(ctx, "PROD", a, b, "weight"), c, "weight")
        corners.append((weight, [first, second, third]))
    return corners


def _weighted(
    ctx: ConverterContext, rows: Tensor, places: Sequence[Tensor], sizes: Sequence[Dim], weight: Tensor | None
) -> Tensor:
    """The rows [N, P, C] at the given places, times their weights; zero for places outside."""
    inside: Tensor | None = None
    linear: Tensor | None = None
    for place, size in zip(places, sizes, strict=True):
        last = ctx.scalar(simplified(size - 1))
        held = ar.clamp(ctx, place, 0.0, last, "held")
        within = ar.compare(ctx, "EQUAL", place, held, "within")
        inside = within if inside is None else ar.elementwise(ctx, "AND", inside, within, "inside")
        # In int64, since f32 counts to 2**24 only.
        number = ar.cast(ctx, held, torch.int64, "number")
        linear = number if linear is None else ar.add(ctx, ar.multiply(ctx, linear, ctx.scalar(size), "row"), number)
    assert inside is not None
    assert linear is not None
    layer = ctx.network.add_gather(rows.trt, linear.trt, 1)
    if layer is not None:
        layer.num_elementwise_dims = 1
    found = ctx.emit(layer, (*linear.shape, rows.shape[2]), "found")
    factor = ar.cast(ctx, inside, torch.float32, "inside")
    if weight is not None:
        factor = ar.elementwise(ctx, "PROD", factor, weight, "weight")
    return ar.elementwise(ctx, "PROD", found, shapes.unsqueeze(ctx, factor, 2, "weight"), "weighted")
