"""Resampling of images: upsampling and grid sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ...compiler.call import Call
from ...compiler.symbols import dims_of, is_static
from ...compiler.tensorrt.tensor import Tensor
from .conditions import FLOATS, dtype_of, value_is
from .registry import Condition, Family

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("resize")

_NEAREST = tuple(
    getattr(getattr(aten, f"{prefix}upsample_nearest{exact}{dim}d"), overload)
    for prefix, exact in (("", ""), ("_", "_exact"))
    for dim in (1, 2, 3)
    for overload in ("default", "vec")
)
_SMOOTH = tuple(
    getattr(getattr(aten, name), overload)
    for name in ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d")
    for overload in ("default", "vec")
)


def _scales(call: Call) -> list[float | None]:
    if "scale_factors" in call.args:
        return list(call.value("scale_factors") or [])
    return [call.value(name) for name in call.args if name.startswith("scales")]


def _input(call: Call) -> Any:
    return call.value("input" if "input" in call.args else "self")


def _whole_scales(call: Call) -> str | None:
    """PyTorch reads places by the given factor, TensorRT by the ratio of the sizes: they must agree."""
    if call.args.get("align_corners"):
        return None
    before, after = _input(call).shape, call.out.shape
    scales = _scales(call)
    for scale, size, result in zip(
        scales, before[-len(scales) :] if scales else [], after[-len(scales) :], strict=False
    ):
        exact = scale is None or float(scale).is_integer() or (isinstance(size, int) and size * scale == result)
        if not exact:
            return f"{call.op}: the factor {scale} times the size {size} is not the size {result}"
    return None


_WHOLE_SCALES = Condition("TP205", "a scale factor times the size is a whole number", _whole_scales)
_FLOAT_INPUT = Condition(
    "TP201",
    "the input is float32, float16 or bfloat16",
    lambda call: None if _input(call).dtype in FLOATS else f"{call.op}: the input has data type {_input(call).dtype}",
)


@FAMILY.converter(*_NEAREST, conditions=[_FLOAT_INPUT, _WHOLE_SCALES], composite=True)
def nearest(ctx: ConverterContext, call: Call) -> Tensor:
    """The nearest element: below the exact place, or ("exact") nearest to the centre."""
    exact = "exact" in call.target._schema.name
    layer, out = _resized(ctx, call, "NEAREST")
    kinds, rounds = ctx.trt.ResizeCoordinateTransformation, ctx.trt.ResizeRoundMode
    layer.coordinate_transformation = kinds.HALF_PIXEL if exact else kinds.ASYMMETRIC
    layer.nearest_rounding = rounds.HALF_UP if exact else rounds.FLOOR
    return ctx.emit(layer, out)


@FAMILY.converter(*_SMOOTH, conditions=[_FLOAT_INPUT, _WHOLE_SCALES], composite=True)
def smooth(ctx: ConverterContext, call: Call) -> Tensor:
    """Linear or cubic interpolation."""
    layer, out = _resized(ctx, call, "CUBIC" if "bicubic" in call.target._schema.name else "LINEAR")
    kinds = ctx.trt.ResizeCoordinateTransformation
    layer.coordinate_transformation = kinds.ALIGN_CORNERS if call.value("align_corners") else kinds.HALF_PIXEL
    return ctx.emit(layer, out)


def _resized(ctx: ConverterContext, call: Call, mode: str) -> tuple[Any, tuple[Any, ...]]:
    x = ctx.tensor(call.arg("input" if "input" in call.args else "self"))
    out = dims_of(call.out.shape)
    layer = ctx.network.add_resize(x.trt)
    layer.resize_mode = getattr(ctx.trt.InterpolationMode, mode)
    if is_static(out):
        layer.shape = out
    else:
        layer.set_input(1, ctx.sizes.vector(out).trt)
    return layer, out


_INTERPOLATIONS = ("LINEAR", "NEAREST", "CUBIC")
_BORDERS = ("FILL", "CLAMP", "REFLECT")


@FAMILY.converter(
    aten.grid_sampler_2d.default,
    aten.grid_sampler.default,
    conditions=[
        dtype_of("input", FLOATS),
        value_is("input", lambda x: x.dim() == 4, "of rank 4", "TP202"),
    ],
    composite=True,
)
def grid_sampler(ctx: ConverterContext, call: Call) -> Tensor:
    """Elements at fractional places given by a grid."""
    layer = ctx.network.add_grid_sample(ctx.tensor(call.arg("input")).trt, ctx.tensor(call.arg("grid")).trt)
    if layer is not None:
        layer.interpolation_mode = getattr(ctx.trt.InterpolationMode, _INTERPOLATIONS[call.value("interpolation_mode")])
        layer.sample_mode = getattr(ctx.trt.SampleMode, _BORDERS[call.value("padding_mode")])
        layer.align_corners = call.value("align_corners")
    return ctx.emit(layer, dims_of(call.out.shape))
