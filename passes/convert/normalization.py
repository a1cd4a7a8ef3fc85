"""Normalization over layers, groups, instances and batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...compiler.call import Call
from ...compiler.symbols import Dim, product
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.tensor import Tensor
from .conditions import FLOATS, dtype_of, only_results, static_dims, value_is
from .registry import Family

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("normalization")


def normalized(
    ctx: ConverterContext,
    x: Tensor,
    axes: Sequence[int],
    eps: float,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, in f32 inside; weight and bias have the rank of `x`."""
    shape = weight.shape if weight is not None else bias.shape if bias is not None else (1,) * x.rank
    parts = [
        ar.cast(ctx, part, x.dtype) if part is not None else _filled(ctx, shape, value, x.dtype)
        for part, value in ((weight, 1.0), (bias, 0.0))
    ]
    add = (
        ctx.network.add_normalization_v2
        if ctx.library.has_layer("add_normalization_v2")
        else ctx.network.add_normalization
    )
    layer = add(x.trt, parts[0].trt, parts[1].trt, sum(1 << x.axis(axis) for axis in axes))
    if layer is not None:
        layer.epsilon = eps
    return ctx.emit(layer, x.shape)


def _filled(ctx: ConverterContext, shape: Sequence[Dim], value: float, dtype: torch.dtype) -> Tensor:
    return shapes.full(ctx, shape, ctx.scalar(value, dtype, len(shape)), "unit")


# --- layer and root mean square --------------------------------------------------------------------------------------
def _last_dims(call: Call) -> range:
    return range(-len(call.value("normalized_shape")), 0)


def _layer_norm(ctx: ConverterContext, call: Call) -> Tensor:
    x = ctx.tensor(call.arg("input"))
    weight, bias = (ctx.optional(call.arg(name)) for name in ("weight", "bias"))
    parts = [None if part is None else shapes.with_rank(ctx, part, x.rank) for part in (weight, bias)]
    if parts[0] is None and parts[1] is None:
        ones: list[Dim] = [1] * (x.rank - len(_last_dims(call)))
        parts[0] = _filled(ctx, [*ones, *x.shape[len(ones) :]], 1.0, x.dtype)
    return normalized(ctx, x, _last_dims(call), call.value("eps"), *parts)


_LAYER_NORM_CONDITIONS = (dtype_of("input", FLOATS),)


@FAMILY.converter(aten.layer_norm.default, conditions=_LAYER_NORM_CONDITIONS, composite=True)
def layer_norm(ctx: ConverterContext, call: Call) -> Tensor:
    """Normalization over the last dimensions."""
    return _layer_norm(ctx, call)


@FAMILY.converter(
    aten.native_layer_norm.default, conditions=[*_LAYER_NORM_CONDITIONS, only_results(0, "the mean and deviation")]
)
def native_layer_norm(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """Normalization over the last dimensions."""
    return _layer_norm(ctx, call), None, None


def _rms_norm(ctx: ConverterContext, call: Call) -> Tensor:
    x, weight, eps = ctx.tensor(call.arg("input")), ctx.optional(call.arg("weight")), call.value("eps")
    if eps is None:
        # torch.finfo of the type that PyTorch computes in.
        eps = torch.finfo(torch.float32 if x.dtype != torch.float64 else x.dtype).eps
    wide = ar.cast(ctx, x, torch.float32, "wide")
    power = ar.reduce(ctx, "AVG", ar.square(ctx, wide), _last_dims(call), True, "mean")
    root = ar.unary(ctx, "SQRT", ar.add(ctx, power, eps, "eps"), "sqrt")
    result = ar.elementwise(ctx, "PROD", wide, ar.unary(ctx, "RECIP", root, "rsqrt"), "normalized")
    if weight is not None:
        result = ar.binary(ctx, "PROD", result, ar.cast(ctx, weight, torch.float32, "weight"), "weighted")
    return ar.cast(ctx, result, call.out.dtype if isinstance(call.out, torch.Tensor) else x.dtype, "")


@FAMILY.converter(aten.rms_norm.default, conditions=[dtype_of("input", FLOATS)], composite=True)
def rms_norm(ctx: ConverterContext, call: Call) -> Tensor:
    """x / sqrt(mean of squares + eps) * weight, over the last dimensions."""
    return _rms_norm(ctx, call)


@FAMILY.converter(
    aten._fused_rms_norm.default,
    conditions=[dtype_of("input", FLOATS), only_results(0, "the reciprocal root")],
    composite=True,
)
def fused_rms_norm(ctx: ConverterContext, call: Call) -> tuple[Tensor, None]:
    """x / sqrt(mean of squares + eps) * weight, over the last dimensions."""
    return _rms_norm(ctx, call), None


# --- groups and instances --------------------------------------------------------------------------------------------
def per_channel(ctx: ConverterContext, parameter: Tensor | None, rank: int) -> Tensor | None:
    """A parameter [C] as [1, C, 1, …]."""
    if parameter is None:
        return None
    return shapes.reshape(ctx, parameter, (1, parameter.shape[0], *[1] * (rank - 2)), "channel")


def _group_norm(ctx: ConverterContext, call: Call, groups: int) -> Tensor:
    x = ctx.tensor(call.arg("input"))
    weight, bias = (per_channel(ctx, ctx.optional(call.arg(name)), x.rank) for name in ("weight", "bias"))
    # One row per group: its statistics are those of a layer norm.
    rows = shapes.reshape(ctx, x, (x.shape[0], groups, product(x.shape[1:]) // groups), "groups")
    result = shapes.reshape(ctx, normalized(ctx, rows, [2], call.value("eps")), x.shape, "shape")
    if weight is not None:
        result = ar.elementwise(ctx, "PROD", result, ar.cast(ctx, weight, x.dtype), "weighted")
    return result if bias is None else ar.elementwise(ctx, "SUM", result, ar.cast(ctx, bias, x.dtype), "biased")


_CHANNELS = static_dims("input", lambda call: [1], "the channel dimension")


@FAMILY.converter(aten.group_norm.default, conditions=[dtype_of("input", FLOATS), _CHANNELS], composite=True)
def group_norm(ctx: ConverterContext, call: Call) -> Tensor:
    """Normalization over the elements of each group of channels."""
    return _group_norm(ctx, call, call.value("num_groups"))


@FAMILY.converter(
    aten.native_group_norm.default,
    conditions=[dtype_of("input", FLOATS), _CHANNELS, only_results(0, "the mean and deviation")],
)
def native_group_norm(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """Normalization over the elements of each group of channels."""
    return _group_norm(ctx, call, call.value("group")), None, None


@FAMILY.converter(aten.instance_norm.default, conditions=[dtype_of("input", FLOATS)], composite=True)
def instance_norm(ctx: ConverterContext, call: Call) -> Tensor:
    """Normalization over the elements of each channel; with running statistics as batch norm."""
    if not call.value("use_input_stats"):
        return _with_statistics(ctx, call)
    x = ctx.tensor(call.arg("input"))
    weight, bias = (per_channel(ctx, ctx.optional(call.arg(name)), x.rank) for name in ("weight", "bias"))
    return normalized(ctx, x, range(2, x.rank), call.value("eps"), *_channel_sized(ctx, x, weight, bias))


def _channel_sized(
    ctx: ConverterContext, x: Tensor, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    if weight is None and bias is None:
        weight = _filled(ctx, (1, x.shape[1], *[1] * (x.rank - 2)), 1.0, x.dtype)
    return weight, bias


# --- batches ---------------------------------------------------------------------------------------------------------
@FAMILY.converter(
    aten._native_batch_norm_legit_no_training.default,
    conditions=[dtype_of("input", FLOATS), only_results(0, "the statistics")],
)
def batch_norm(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """Normalization with running statistics: one scale and one shift per channel."""
    return _with_statistics(ctx, call), None, None


@FAMILY.converter(
    aten._native_batch_norm_legit.no_stats,
    conditions=[
        dtype_of("input", FLOATS),
        only_results(0, "the statistics"),
        value_is("training", bool, "True, since there are no running statistics"),
    ],
)
def batch_norm_of_batch(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """Normalization with the statistics of the batch itself."""
    x = ctx.tensor(call.arg("input"))
    weight, bias = (per_channel(ctx, ctx.optional(call.arg(name)), x.rank) for name in ("weight", "bias"))
    parts = _channel_sized(ctx, x, weight, bias)
    return normalized(ctx, x, [0, *range(2, x.rank)], call.value("eps"), *parts), None, None


def _with_statistics(ctx: ConverterContext, call: Call) -> Tensor:
    x = ctx.tensor(call.arg("input"))
    # In f32, as PyTorch does: rounding the product would lose what the shift takes away.
    wide = ar.cast(ctx, x, torch.float32, "wide")
    scale, shift = _constant_affine(ctx, call, wide) or _affine(ctx, call, wide)
    result = ar.elementwise(ctx, "SUM", ar.elementwise(ctx, "PROD", wide, scale, "scaled"), shift)
    return ar.cast(ctx, result, x.dtype)


def _constant_affine(ctx: ConverterContext, call: Call, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Scale and shift computed now, if all four parameters are constants."""
    names = ("weight", "bias", "running_mean", "running_var")
    values = [ctx.constant_value(call.arg(name)) for name in names]
    if any(value is None and call.arg(name) is not None for name, value in zip(names, values, strict=True)):
        return None
    weight, bias, mean, variance = (None if value is None else value.double() for value in values)
    if mean is None or variance is None:
        return None
    scale = torch.rsqrt(variance + call.value("eps"))
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    shift = shift if bias is None else shift + bias
    shape = (1, -1, *[1] * (x.rank - 2))
    return tuple(ctx.constant(part.to(x.dtype).reshape(shape), "folded") for part in (scale, shift))  # type: ignore[return-value]


def _affine(ctx: ConverterContext, call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    parts = [ctx.optional(call.arg(name)) for name in ("weight", "bias", "running_mean", "running_var")]
    wide = [None if part is None else ar.cast(ctx, part, torch.float32, "wide") for part in parts]
    weight, bias, mean, variance = (per_channel(ctx, part, x.rank) for part in wide)
    assert mean is not None
    assert variance is not None
    root = ar.unary(ctx, "SQRT", ar.add(ctx, variance, call.value("eps"), "eps"), "sqrt")
    scale = ar.unary(ctx, "RECIP", root, "rsqrt")
    if weight is not None:
        scale = ar.elementwise(ctx, "PROD", scale, weight, "scale")
    offset = ar.elementwise(ctx, "PROD", mean, scale, "offset")
    shift = ar.unary(ctx, "NEG", offset, "shift") if bias is None else ar.elementwise(ctx, "SUB", bias, offset, "shift")
    return scale, shift
