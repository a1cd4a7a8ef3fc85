"""Normalization over batches and instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.in_float32 import in_float32
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import Tensor
from .conditions import FLOATS, dtype_of, only_results, rank_of, used_results
from .normalization import affine, filled, moments, normalized, per_channel, statistics

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("batch_norm")

_INPUT = (dtype_of("input", FLOATS), rank_of("input", 2, 8))


# --- instances -------------------------------------------------------------------------------------------------------
@FAMILY.converter(aten.instance_norm.default, conditions=_INPUT, composite=True)
def instance_norm(ctx: ConverterContext, call: Call) -> Tensor:
    """Normalization over the elements of each channel; with running statistics as batch norm."""
    if not call.value("use_input_stats"):
        return with_statistics(ctx, call)
    if call.value("input").dim() == 3:
        return in_float32(_of_rows)(ctx, call)
    x = ctx.tensor(call.arg("input"))
    weight, bias = (per_channel(ctx, ctx.optional(call.arg(name)), x.rank) for name in ("weight", "bias"))
    return normalized(ctx, x, range(2, x.rank), call.value("eps"), *_channel_sized(ctx, x, weight, bias))


def _of_rows(ctx: ConverterContext, call: Call) -> Tensor:
    """With a weight for each row in the layer, an engine has no execution context, as for groups."""
    x = ctx.tensor(call.arg("input"))
    weight, bias = (per_channel(ctx, ctx.optional(call.arg(name)), x.rank) for name in ("weight", "bias"))
    return affine(ctx, normalized(ctx, x, [2], call.value("eps")), weight, bias)


def _channel_sized(
    ctx: ConverterContext, x: Tensor, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    if weight is None and bias is None:
        weight = filled(ctx, (1, x.shape[1], *[1] * (x.rank - 2)), 1.0, x.dtype)
    return weight, bias


# --- batches ---------------------------------------------------------------------------------------------------------
@FAMILY.converter(
    aten._native_batch_norm_legit_no_training.default, conditions=[*_INPUT, only_results(0, "the statistics")]
)
def batch_norm(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """Normalization with running statistics: one scale and one shift per channel."""
    return with_statistics(ctx, call), None, None


def _statistics_without_training(call: Call) -> str | None:
    if call.value("training") or not used_results(call) & {1, 2}:
        return None
    return f"{call.op}: the statistics (results 1 and 2) are used, but they are computed in training only"


def _updates_statistics(call: Call) -> str | None:
    if not call.value("training") or call.value("running_mean") is None:
        return None
    return f"{call.op}: training is True, which changes the running statistics in place: call model.eval()"


@FAMILY.converter(
    aten.native_batch_norm.default,
    conditions=[
        *_INPUT,
        Condition("TP205", "the statistics are used in training only", _statistics_without_training),
        Condition("TP208", "no running statistics are changed in place", _updates_statistics),
    ],
    composite=True,
)
def native_batch_norm(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """Normalization with running statistics, or with those of the batch where there are none."""
    if call.value("training"):
        return _with_batch(ctx, call), *_batch_statistics(ctx, call)
    return with_statistics(ctx, call), None, None


@FAMILY.converter(aten._native_batch_norm_legit.no_stats, conditions=_INPUT)
def batch_norm_of_batch(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """Normalization with the statistics of the batch itself, its mean, and the reciprocal deviation."""
    return _with_batch(ctx, call), *_batch_statistics(ctx, call)


@FAMILY.converter(
    aten._native_batch_norm_legit_functional.default,
    conditions=[*_INPUT, Condition("TP205", "the statistics are used in training only", _statistics_without_training)],
)
def batch_norm_with_update(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """Normalization as in training, with the running statistics that follow as further results."""
    if not call.value("training"):
        kept = (ctx.tensor(call.arg(name)) for name in ("running_mean", "running_var"))
        return with_statistics(ctx, call), None, None, *kept
    return _with_batch(ctx, call), *_batch_statistics(ctx, call), *_updated(ctx, call)


def _axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.rank)]


def _with_batch(ctx: ConverterContext, call: Call) -> Tensor:
    x = ctx.tensor(call.arg("input"))
    weight, bias = (per_channel(ctx, ctx.optional(call.arg(name)), x.rank) for name in ("weight", "bias"))
    return normalized(ctx, x, _axes(x), call.value("eps"), *_channel_sized(ctx, x, weight, bias))


def _batch_statistics(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, Tensor | None]:
    x = ctx.tensor(call.arg("input"))
    return statistics(ctx, call, x, _axes(x))


def _updated(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, Tensor | None]:
    """Running mean and (unbiased) variance, moved towards those of the batch by the momentum."""
    if not used_results(call) & {3, 4}:
        return None, None
    x, momentum = ctx.tensor(call.arg("input")), float(call.value("momentum"))
    mean, variance = moments(ctx, x, _axes(x))
    count = ar.cast(ctx, ctx.scalar(ar.count(x, _axes(x))), torch.float32, "count")
    bessel = ar.elementwise(ctx, "DIV", count, ar.binary(ctx, "SUB", count, 1.0, "degrees"), "bessel")
    unbiased = ar.multiply(ctx, variance, bessel, "unbiased")
    first, second = (
        ar.cast(ctx, _moved(ctx, ctx.tensor(call.arg(name)), part, momentum), out.dtype)
        for name, part, out in zip(("running_mean", "running_var"), (mean, unbiased), call.out[3:], strict=True)
    )
    return first, second


def _moved(ctx: ConverterContext, running: Tensor, part: Tensor, momentum: float) -> Tensor:
    wide = ar.cast(ctx, running, torch.float32, "wide")
    part = shapes.reshape(ctx, part, wide.shape, "statistics")
    kept = ar.multiply(ctx, wide, 1 - momentum, "kept")
    return ar.add(ctx, kept, ar.multiply(ctx, part, momentum, "new"), "running")


# --- running statistics ----------------------------------------------------------------------------------------------
def with_statistics(ctx: ConverterContext, call: Call) -> Tensor:
    """(input - running_mean) / sqrt(running_var + eps) * weight + bias, as one scale and one shift per channel."""
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
