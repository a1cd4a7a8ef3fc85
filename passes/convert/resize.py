"""Resampling of images. Every interpolation is separable: along a dimension it is a choice or a weighted sum.

TensorRT's resize layer reads places by the ratio of the sizes, PyTorch by the factor that the caller gave. Where they
differ, and for antialiasing, each dimension is gathered from, or multiplied with a matrix of weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, dims_of, is_static, same, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Condition, Family, IsConstant
from ...compiler.tensorrt.tensor import Tensor
from .conditions import FLOATS
from .indexing import gathered
from .linear import product

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("resize")


def _overloads(*names: str) -> tuple[Any, ...]:
    return tuple(getattr(getattr(aten, name), overload) for name in names for overload in ("default", "vec"))


_NEAREST = _overloads(
    *(f"{name}{dim}d" for name in ("upsample_nearest", "_upsample_nearest_exact") for dim in (1, 2, 3))
)
_SMOOTH = _overloads("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d")
_ANTIALIASED = _overloads("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa")


@dataclass(frozen=True)
class _Axis:
    """One resized dimension: `dim` counts from the end; `scale` is the factor given, or None for the sizes' ratio."""

    dim: int
    length: Dim
    size: Dim
    scale: float | None

    @property
    def static(self) -> bool:
        """Whether both sizes are numbers."""
        return is_static((self.length, self.size))

    @property
    def whole(self) -> bool:
        """Whether the ratio of the sizes is the factor given."""
        if self.scale is None or float(self.scale).is_integer():
            return True
        return self.static and self.length * self.scale == self.size


def _input(call: Call) -> str:
    return "input" if "input" in call.args else "self"


def _axes(call: Call) -> list[_Axis]:
    before, after = dims_of(call.value(_input(call)).shape), dims_of(call.out.shape)
    spatial = len(before) - 2
    if "scale_factors" in call.args:
        scales = call.value("scale_factors") or [None] * spatial
    else:
        scales = [call.value(name) for name in call.args if name.startswith("scales")]
    dims = range(-spatial, 0)
    return [_Axis(dim, before[dim], after[dim], scale) for dim, scale in zip(dims, scales, strict=True)]


def _is_cubic(call: Call) -> bool:
    return "bicubic" in call.target._schema.name


def _float_input(call: Call) -> str | None:
    dtype = call.value(_input(call)).dtype
    return None if dtype in FLOATS else f"{call.op}: the input has data type {dtype}"


def _cubic_factor(call: Call) -> str | None:
    if not _is_cubic(call) or call.value("align_corners"):
        return None
    for axis in _axes(call):
        if not axis.whole and not axis.static:
            return f"{call.op}: the factor {axis.scale} of the dynamic dimension {axis.dim} is not a whole number"
    return None


_FLOAT_INPUT = Condition("TP201", "the input is float32, float16 or bfloat16", _float_input)
_CUBIC_FACTOR = Condition("TP205", "the factor of a dynamic dimension is a whole number, if cubic", _cubic_factor)


# --- nearest ---------------------------------------------------------------------------------------------------------
@FAMILY.converter(*_NEAREST, conditions=[_FLOAT_INPUT], composite=True)
def nearest(ctx: ConverterContext, call: Call) -> Tensor:
    """The nearest element: below the exact place, or ("exact") nearest to the centre."""
    exact = "exact" in call.target._schema.name
    axes = _axes(call)
    if all(axis.whole and not (axis.static and axis.size % max(axis.length, 1)) for axis in axes):
        layer, out = _resized(ctx, call, "NEAREST")
        kinds, rounds = ctx.trt.ResizeCoordinateTransformation, ctx.trt.ResizeRoundMode
        layer.coordinate_transformation = kinds.HALF_PIXEL if exact else kinds.ASYMMETRIC
        layer.nearest_rounding = rounds.HALF_UP if exact else rounds.FLOOR
        return ctx.emit(layer, out)
    x = ctx.tensor(call.arg(_input(call)))
    for axis in axes:
        if not same(axis.length, axis.size) or axis.scale not in (None, 1.0):
            x = gathered(ctx, x, _nearest_places(ctx, axis, exact), x.axis(axis.dim), "nearest")
    return x


def _nearest_places(ctx: ConverterContext, axis: _Axis, exact: bool) -> Tensor:
    if axis.static:
        # By PyTorch itself, which rounds in its own way.
        function = aten._upsample_nearest_exact1d if exact else aten.upsample_nearest1d
        row = torch.arange(axis.length, dtype=torch.float32).reshape(1, 1, -1)
        return ctx.constant(function(row, [axis.size], axis.scale).flatten().long(), "places")
    places = ar.cast(ctx, shapes.ramp(ctx, axis.size, role="places"), torch.float32)
    places = ar.add(ctx, places, 0.5, "centre") if exact else places
    below = ar.unary(ctx, "FLOOR", ar.multiply(ctx, places, _ratio(ctx, axis, False), "scaled"), "below")
    return ar.clamp(ctx, ar.cast(ctx, below, torch.int64), 0, ctx.scalar(simplified(axis.length - 1)), "places")


# --- linear and cubic ------------------------------------------------------------------------------------------------
def _is_static(call: Call, is_constant: IsConstant) -> bool:
    return all(axis.static for axis in _axes(call))


LARGE = 1 << 20
"""Elements of a float16 result from which on products are faster than TensorRT-RTX's layer for such resizes.

On an H200, between a product and a sum: [4, 256, 64, 64] four times as large 80 us and not 252, [2, 64, 128, 128] twice
as large by cubic interpolation 20 and not 162, [1, 64, 32, 32] twice as large 10 and not 9.
"""


def _is_large(call: Call) -> bool:
    sizes = [size for size in call.out.shape if isinstance(size, int)]
    return call.out.dtype is torch.float16 and math.prod(sizes) >= LARGE


@FAMILY.variant("products", _is_static, default=_is_large)
def _products(ctx: ConverterContext, call: Call) -> Tensor:
    """Linear or cubic interpolation between static sizes as a product with a small matrix for each dimension."""
    return _weighted(ctx, call, _cubic_matrix if _is_cubic(call) else _linear_matrix, narrow=True)


@FAMILY.converter(*_SMOOTH, conditions=[_FLOAT_INPUT, _CUBIC_FACTOR], composite=True, variant="layer")
def smooth(ctx: ConverterContext, call: Call) -> Tensor:
    """TensorRT's layer for linear or cubic interpolation, or products where it reads other places than PyTorch."""
    aligned = call.value("align_corners")
    if not aligned and not all(axis.whole for axis in _axes(call)):
        return _weighted(ctx, call, _cubic_matrix if _is_cubic(call) else _linear_matrix)
    layer, out = _resized(ctx, call, "CUBIC" if _is_cubic(call) else "LINEAR")
    kinds = ctx.trt.ResizeCoordinateTransformation
    layer.coordinate_transformation = kinds.ALIGN_CORNERS if aligned else kinds.HALF_PIXEL
    return ctx.emit(layer, out)


@FAMILY.converter(*_ANTIALIASED, conditions=[_FLOAT_INPUT], composite=True)
def antialiased(ctx: ConverterContext, call: Call) -> Tensor:
    """Linear or cubic interpolation that averages over what lies between the places when it shrinks."""
    return _weighted(ctx, call, _antialiased_matrix)


_Matrix = Callable[["ConverterContext", Call, _Axis], Tensor]


def _weighted(ctx: ConverterContext, call: Call, matrix: _Matrix, narrow: bool = False) -> Tensor:
    """Each dimension times its matrix [size, length], in f32; with `narrow` in float16, with sums in f32.

    With `narrow`, the last two dimensions are not moved: a matrix from the right, and one from the left.
    """
    x = ctx.tensor(call.arg(_input(call)))
    x = x if narrow and x.dtype is torch.float16 else ar.cast(ctx, x, torch.float32, "wide")
    for axis in reversed(_axes(call)) if narrow else _axes(call):
        if same(axis.length, axis.size) and axis.scale in (None, 1.0):
            continue
        if narrow and axis.dim >= -2:
            weights = shapes.with_rank(ctx, ar.cast(ctx, matrix(ctx, call, axis), x.dtype, "weights"), x.rank)
            operands = (x, weights) if axis.dim == -1 else (weights, x)
            x = product(ctx, *operands, transposed=(False, axis.dim == -1), role="interpolate")
            continue
        moved = shapes.swap(ctx, x, axis.dim, -1, "move")
        weights = ar.cast(ctx, matrix(ctx, call, axis), x.dtype, "weights")
        resized = product(ctx, moved, weights, transposed=(False, True), role="interpolate")
        x = shapes.swap(ctx, resized, axis.dim, -1, "move")
    return ar.cast(ctx, x, call.out.dtype)


def _eager_matrix(call: Call, axis: _Axis, function: Callable[..., torch.Tensor]) -> torch.Tensor:
    """The matrix of two static sizes: what PyTorch itself makes of the unit vectors."""
    # Two columns, because PyTorch's antialiasing on the CPU reads a wrong row of an image that is one wide.
    columns = torch.eye(axis.length).reshape(1, axis.length, axis.length, 1).repeat(1, 1, 1, 2)
    rows: torch.Tensor = function(columns, [axis.size, 2], call.value("align_corners"), axis.scale, None)
    return rows[0, :, :, 0].t().contiguous()


def _cubic_matrix(ctx: ConverterContext, call: Call, axis: _Axis) -> Tensor:
    return ctx.constant(_eager_matrix(call, axis, aten.upsample_bicubic2d.default), "weights")


def _linear_matrix(ctx: ConverterContext, call: Call, axis: _Axis) -> Tensor:
    if axis.static:
        return ctx.constant(_eager_matrix(call, axis, aten.upsample_bilinear2d.default), "weights")
    centres = ar.binary(ctx, "SUB", _centres(ctx, axis, False), 0.5, "places")
    places = ar.clamp(ctx, centres, 0.0, ctx.scalar(simplified(axis.length - 1)), "places")
    return _hat(ctx, ar.binary(ctx, "SUB", places, _pixels(ctx, axis), "distance"))


def _antialiased_matrix(ctx: ConverterContext, call: Call, axis: _Axis) -> Tensor:
    cubic, aligned = _is_cubic(call), call.value("align_corners")
    if axis.static:
        function = aten._upsample_bicubic2d_aa if cubic else aten._upsample_bilinear2d_aa
        return ctx.constant(_eager_matrix(call, axis, function.default), "weights")
    pixels = ar.add(ctx, _pixels(ctx, axis), 0.5, "centres")
    distance = ar.binary(ctx, "SUB", pixels, _centres(ctx, axis, aligned), "distance")
    widest = ar.clamp(ctx, _ratio(ctx, axis, aligned), 1.0, None, "widest")
    distance = ar.binary(ctx, "DIV", distance, widest, "distance")
    weights = _keys(ctx, distance) if cubic else _hat(ctx, distance)
    return ar.elementwise(ctx, "DIV", weights, ar.reduce(ctx, "SUM", weights, [-1], True, "sum"), "weights")


def _ratio(ctx: ConverterContext, axis: _Axis, aligned: bool) -> Tensor:
    """How many elements of the input lie between two of the result, f32 []."""
    if aligned:
        length, size = (ctx.scalar(simplified(each - 1)) for each in (axis.length, axis.size))
        gaps = ar.clamp(ctx, ar.cast(ctx, size, torch.float32), 1.0, None, "gaps")
        return ar.binary(ctx, "DIV", ar.cast(ctx, length, torch.float32), gaps, "ratio")
    if axis.scale is not None:
        return ctx.scalar(1 / axis.scale, torch.float32)
    length, size = (ar.cast(ctx, ctx.scalar(each), torch.float32) for each in (axis.length, axis.size))
    return ar.elementwise(ctx, "DIV", length, size, "ratio")


def _centres(ctx: ConverterContext, axis: _Axis, aligned: bool) -> Tensor:
    """The centres of the result's elements in the input, f32 [size, 1]."""
    column = shapes.unsqueeze(ctx, ar.cast(ctx, shapes.ramp(ctx, axis.size), torch.float32), 1, "column")
    return ar.multiply(ctx, ar.add(ctx, column, 0.5, "centre"), _ratio(ctx, axis, aligned), "centres")


def _pixels(ctx: ConverterContext, axis: _Axis) -> Tensor:
    """The numbers of the input's elements, f32 [1, length]."""
    return shapes.unsqueeze(ctx, ar.cast(ctx, shapes.ramp(ctx, axis.length), torch.float32), 0, "row")


def _hat(ctx: ConverterContext, distance: Tensor) -> Tensor:
    near = ar.binary(ctx, "SUB", 1.0, ar.unary(ctx, "ABS", distance, "abs"), "near")
    return ar.clamp(ctx, near, 0.0, None, "weights")


def _keys(ctx: ConverterContext, distance: Tensor) -> Tensor:
    """Keys' cubic kernel (IEEE ASSP 1981) with a = -1/2: 1.5x³ - 2.5x² + 1 up to 1, -.5x³ + 2.5x² - 4x + 2 up to 2."""
    x = ar.unary(ctx, "ABS", distance, "abs")
    near, far = (_polynomial(ctx, x, factors) for factors in ((1.5, -2.5, 0.0, 1.0), (-0.5, 2.5, -4.0, 2.0)))
    far = ar.where(ctx, ar.compare(ctx, "LESS", x, 2.0, "far"), far, 0.0, "far")
    return ar.where(ctx, ar.compare(ctx, "LESS", x, 1.0, "near"), near, far, "weights")


def _polynomial(ctx: ConverterContext, x: Tensor, factors: Sequence[float]) -> Tensor:
    result: Tensor | float = factors[0]
    for factor in factors[1:]:
        result = ar.add(ctx, ar.multiply(ctx, result, x, "power"), factor, "power")
    assert isinstance(result, Tensor)
    return result


# --- TensorRT's layer ------------------------------------------------------------------------------------------------
def _resized(ctx: ConverterContext, call: Call, mode: str) -> tuple[Any, tuple[Any, ...]]:
    x, out = ctx.tensor(call.arg(_input(call))), dims_of(call.out.shape)
    layer = ctx.network.add_resize(x.trt)
    layer.resize_mode = getattr(ctx.trt.InterpolationMode, mode)
    if is_static(out):
        layer.shape = out
    else:
        layer.set_input(1, ctx.sizes.vector(out).trt)
    return layer, out
