"""Normalization over layers and groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, dims_of, product
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import Tensor
from .conditions import FLOATS, dtype_of, only_results, static_dims, used_results
from .group_kernel import has_group_kernel

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
        ar.cast(ctx, part, x.dtype) if part is not None else filled(ctx, shape, value, x.dtype)
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


def filled(ctx: ConverterContext, shape: Sequence[Dim], value: float, dtype: torch.dtype) -> Tensor:
    return shapes.full(ctx, shape, ctx.scalar(value, dtype, len(shape)), "unit")


def statistics(
    ctx: ConverterContext, call: Call, x: Tensor, axes: Sequence[int], eps: str = "eps"
) -> tuple[Tensor | None, Tensor | None]:
    """The mean and 1 / sqrt(variance + eps) over some dimensions, as results 1 and 2 of a call that reads them."""
    used = used_results(call)
    if not used & {1, 2}:
        return None, None
    mean, variance = moments(ctx, x, axes)
    root = ar.unary(ctx, "SQRT", ar.add(ctx, variance, call.value(eps), "eps"), "deviation")
    parts = (mean, ar.unary(ctx, "RECIP", root, "reciprocal"))
    first, second = (
        shapes.reshape(ctx, ar.cast(ctx, part, out.dtype), dims_of(out.shape), "statistics")
        for part, out in zip(parts, call.out[1:3], strict=True)
    )
    return first, second


def moments(ctx: ConverterContext, x: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The mean and the biased variance, in f32, the dimensions kept."""
    wide = ar.cast(ctx, x, torch.float32, "wide")
    mean = ar.reduce(ctx, "AVG", wide, axes, True, "mean")
    squares = ar.square(ctx, ar.elementwise(ctx, "SUB", wide, mean, "centred"))
    return mean, ar.reduce(ctx, "AVG", squares, axes, True, "variance")


# --- layer and root mean square --------------------------------------------------------------------------------------
def _last_dims(call: Call) -> range:
    return range(-len(call.value("normalized_shape")), 0)


def _layer_norm(ctx: ConverterContext, call: Call) -> Tensor:
    if _is_in_place_of_a_move(call) and ctx.has(call.arg("input").args[0]):
        return _of_channels(ctx, call)
    x = ctx.tensor(call.arg("input"))
    parts = [shapes.operand_with_rank(ctx, call.arg(name), x.rank) for name in ("weight", "bias")]
    if parts[0] is None and parts[1] is None:
        ones: list[Dim] = [1] * (x.rank - len(_last_dims(call)))
        parts[0] = filled(ctx, [*ones, *x.shape[len(ones) :]], 1.0, x.dtype)
    return normalized(ctx, x, _last_dims(call), call.value("eps"), *parts)


def _is_in_place_of_a_move(call: Call) -> bool:
    """Whether one dimension becomes the last to be normalized, and then goes back to its place."""
    moves = [call.arg("input"), *call.node.users]
    if len(call.value("normalized_shape")) != 1 or any(move.target is not aten.permute.default for move in moves):
        return False
    there, *backs = [[dim % len(move.args[1]) for dim in move.args[1]] for move in moves]
    return bool(backs) and all([there[dim] for dim in back] == sorted(there) for back in backs)


def _of_channels(ctx: ConverterContext, call: Call) -> Tensor:
    """The normalization where the dimension was: TensorRT-RTX makes two kernels of one and a move of its result."""
    source, order = call.arg("input").args
    x = ctx.tensor(source)
    axis = x.axis(order[-1])
    shape = [x.shape[axis] if dim == axis else 1 for dim in range(x.rank)]
    parts = [ctx.optional(call.arg(name)) for name in ("weight", "bias")]
    if parts[0] is None and parts[1] is None:
        parts[0] = filled(ctx, shape[axis : axis + 1], 1.0, x.dtype)
    placed = [None if part is None else shapes.reshape(ctx, part, shape, "channels") for part in parts]
    return shapes.permute(ctx, normalized(ctx, x, [axis], call.value("eps"), *placed), order, "last")


_LAYER_NORM_CONDITIONS = (dtype_of("input", FLOATS),)


@FAMILY.converter(aten.layer_norm.default, conditions=_LAYER_NORM_CONDITIONS, composite=True)
def layer_norm(ctx: ConverterContext, call: Call) -> Tensor:
    """Normalization over the last dimensions."""
    return _layer_norm(ctx, call)


@FAMILY.converter(aten.native_layer_norm.default, conditions=_LAYER_NORM_CONDITIONS)
def native_layer_norm(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """Normalization over the last dimensions, the mean, and the reciprocal deviation."""
    return _layer_norm(ctx, call), *statistics(ctx, call, ctx.tensor(call.arg("input")), _last_dims(call))


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


# --- groups ----------------------------------------------------------------------------------------------------------
def per_channel(ctx: ConverterContext, parameter: Tensor | None, rank: int) -> Tensor | None:
    """A parameter [C] as [1, C, 1, …]."""
    if parameter is None:
        return None
    return shapes.reshape(ctx, parameter, (1, parameter.shape[0], *[1] * (rank - 2)), "channel")


def _groups(ctx: ConverterContext, x: Tensor, groups: int) -> Tensor:
    """One row per group, [N, groups, elements]: its statistics are those of a layer norm."""
    return shapes.reshape(ctx, x, (x.shape[0], groups, product(x.shape[1:]) // groups), "groups")


def _group_norm(ctx: ConverterContext, call: Call, groups: int) -> Tensor:
    x = ctx.tensor(call.arg("input"))
    if 0 in x.shape:
        return x
    weight, bias = (per_channel(ctx, ctx.optional(call.arg(name)), x.rank) for name in ("weight", "bias"))
    rows = _groups(ctx, x, groups)
    # The weight does nothing. If it has all groups, TensorRT-RTX 1.6 takes a kernel of its own.
    unit = filled(ctx, (1, groups if has_group_kernel(call, groups, ctx.nodes) else 1, 1), 1.0, x.dtype)
    result = shapes.reshape(ctx, normalized(ctx, rows, [2], call.value("eps"), unit), x.shape, "shape")
    return affine(ctx, result, weight, bias)


def affine(ctx: ConverterContext, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """x * weight + bias, of equal ranks, where they are not None."""
    if weight is not None:
        x = ar.elementwise(ctx, "PROD", x, ar.cast(ctx, weight, x.dtype), "weighted")
    return x if bias is None else ar.elementwise(ctx, "SUM", x, ar.cast(ctx, bias, x.dtype), "biased")


_CHANNELS = static_dims("input", lambda call: [1], "the channel dimension")


@FAMILY.converter(aten.group_norm.default, conditions=[dtype_of("input", FLOATS), _CHANNELS], composite=True, wide=True)
def group_norm(ctx: ConverterContext, call: Call) -> Tensor:
    """Normalization over the elements of each group of channels."""
    return _group_norm(ctx, call, call.value("num_groups"))


@FAMILY.converter(aten.native_group_norm.default, conditions=[dtype_of("input", FLOATS), _CHANNELS], wide=True)
def native_group_norm(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """Normalization over the elements of each group of channels, the mean, and the reciprocal deviation."""
    rows = _groups(ctx, ctx.tensor(call.arg("input")), call.value("group"))
    return _group_norm(ctx, call, call.value("group")), *statistics(ctx, call, rows, [2])
