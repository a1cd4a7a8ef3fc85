"""Reductions, extremes with their places, and running sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import Tensor
from .sorting import selected

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("reduction")


def _dims(call: Call) -> list[int] | None:
    """The dimensions to reduce over; an empty list means all, as None does."""
    dims = call.value("dim")
    return [dims] if isinstance(dims, int) else list(dims) if dims else None


@FAMILY.converter(aten.sum.default, aten.sum.dim_IntList, wide=True)
def total(ctx: ConverterContext, call: Call) -> Tensor:
    """The sum, of integers and booleans as int64."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    dims = None if call.target is aten.sum.default else _dims(call)
    return ar.reduce(ctx, "SUM", x, dims, "keepdim" in call.args and call.value("keepdim"))


@FAMILY.converter(aten.prod.default, aten.prod.dim_int, wide=True)
def product(ctx: ConverterContext, call: Call) -> Tensor:
    """The product, of integers and booleans as int64."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    if call.target is aten.prod.default:
        return ar.reduce(ctx, "PROD", x, None)
    return ar.reduce(ctx, "PROD", x, [call.value("dim")], call.value("keepdim"))


@FAMILY.converter(aten.mean.default, aten.mean.dim, wide=True)
def mean(ctx: ConverterContext, call: Call) -> Tensor:
    """The mean."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    if call.target is aten.mean.default:
        return ar.reduce(ctx, "AVG", x, None)
    return ar.reduce(ctx, "AVG", x, _dims(call), call.value("keepdim"))


@FAMILY.converter(aten.amax.default, aten.amin.default)
def extreme(ctx: ConverterContext, call: Call) -> Tensor:
    """The greatest or least element along dimensions."""
    operation = "MAX" if call.target is aten.amax.default else "MIN"
    return _extreme(ctx, operation, ctx.tensor(call.arg("self")), _dims(call), call.value("keepdim"))


@FAMILY.converter(aten.max.default, aten.min.default, composite=True)
def extreme_of_all(ctx: ConverterContext, call: Call) -> Tensor:
    """The greatest or least element of all."""
    return _extreme(ctx, "MAX" if call.target is aten.max.default else "MIN", ctx.tensor(call.arg("self")), None, False)


def _extreme(ctx: ConverterContext, operation: str, x: Tensor, dims: list[int] | None, keepdim: bool) -> Tensor:
    if x.dtype != torch.bool:
        return ar.reduce(ctx, operation, x, dims, keepdim)
    return ar.any_of(ctx, x, dims, keepdim, every=operation == "MIN")


@FAMILY.converter(aten.aminmax.default, composite=True)
def extremes(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The least and the greatest element of all, or along a dimension."""
    x, dim = ctx.tensor(call.arg("self")), call.value("dim")
    # Without a dimension, keepdim keeps all of them.
    least, greatest = (
        _extreme(ctx, operation, x, None if dim is None else [dim], call.value("keepdim"))
        for operation in ("MIN", "MAX")
    )
    return least, greatest


@FAMILY.converter(aten.any.default, aten.any.dim, aten.any.dims)
def any_(ctx: ConverterContext, call: Call) -> Tensor:
    """Whether any element is non-zero."""
    return _any(ctx, call, every=False)


@FAMILY.converter(aten.all.default, aten.all.dim, aten.all.dims, composite=True)
def all_(ctx: ConverterContext, call: Call) -> Tensor:
    """Whether all elements are non-zero."""
    return _any(ctx, call, every=True)


def _any(ctx: ConverterContext, call: Call, every: bool) -> Tensor:
    x = ctx.tensor(call.arg("self"))
    dims = _dims(call) if "dim" in call.args else None
    if "dim" in call.args and isinstance(call.value("dim"), int):
        dims = [call.value("dim")]
    return ar.any_of(ctx, x, dims, "keepdim" in call.args and call.value("keepdim"), every=every)


@FAMILY.converter(aten.var.dim, aten.var.correction, wide=True)
def variance(ctx: ConverterContext, call: Call) -> Tensor:
    """The variance."""
    return _variance(ctx, call)[0]


@FAMILY.converter(aten.std.dim, aten.std.correction, composite=True, wide=True)
def deviation(ctx: ConverterContext, call: Call) -> Tensor:
    """The standard deviation."""
    return ar.unary(ctx, "SQRT", _variance(ctx, call)[0])


@FAMILY.converter(aten.var_mean.correction, aten.std_mean.correction, composite=True, wide=True)
def variance_and_mean(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The variance or standard deviation, and the mean."""
    spread, mean = _variance(ctx, call)
    return (ar.unary(ctx, "SQRT", spread) if call.target is aten.std_mean.correction else spread), mean


def _variance(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    x, dims, keepdim = ctx.tensor(call.arg("self")), _dims(call), call.value("keepdim")
    correction = call.value("correction") if "correction" in call.args else int(call.value("unbiased"))
    correction = 1 if correction is None else correction
    mean = ar.reduce(ctx, "AVG", x, dims, True, "mean")
    squares = ar.square(ctx, ar.elementwise(ctx, "SUB", x, mean, "centred"))
    if correction == 0:
        result = ar.reduce(ctx, "AVG", squares, dims, keepdim, "variance")
    else:
        total = ar.reduce(ctx, "SUM", squares, dims, keepdim, "sum")
        result = ar.multiply(ctx, total, _reciprocal_count(ctx, x, dims, correction), "variance")
    return result, mean if keepdim else shapes.reshape(ctx, mean, result.shape, "mean.shape")


def _reciprocal_count(ctx: ConverterContext, x: Tensor, dims: list[int] | None, correction: float) -> float | Tensor:
    count = ar.count(x, dims)
    if isinstance(count, int):
        return 1 / (count - correction) if count > correction else float("inf")
    size = ar.cast(ctx, shapes.reshape(ctx, ctx.sizes.tensor(count), (), "count"), torch.float32, "count")
    degrees = ar.clamp(ctx, ar.binary(ctx, "SUB", size, float(correction), "degrees"), 0.0, None, "degrees")
    return ar.unary(ctx, "RECIP", degrees, "reciprocal")


# --- places ----------------------------------------------------------------------------------------------------------
@FAMILY.converter(aten.argmax.default, aten.argmin.default)
def place(ctx: ConverterContext, call: Call) -> Tensor:
    """The index of the greatest or least element, of equal ones the first."""
    x, dim, keepdim = ctx.tensor(call.arg("self")), call.value("dim"), call.value("keepdim")
    operation = "MAX" if call.target is aten.argmax.default else "MIN"
    if dim is None:
        flat = shapes.flatten(ctx, x, role="flat")
        index = selected(ctx, operation, flat, 0, 1, nan_greatest=operation == "MAX")[1]
        return shapes.reshape(ctx, index, (1,) * x.rank if keepdim else (), "shape")
    return _extreme_and_place(ctx, operation, x, dim, keepdim)[1]


@FAMILY.converter(aten.max.dim, aten.min.dim)
def extreme_with_place(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The greatest or least element along a dimension, and its index."""
    operation = "MAX" if call.target is aten.max.dim else "MIN"
    return _extreme_and_place(ctx, operation, ctx.tensor(call.arg("self")), call.value("dim"), call.value("keepdim"))


def _extreme_and_place(
    ctx: ConverterContext, operation: str, x: Tensor, dim: int, keepdim: bool
) -> tuple[Tensor, Tensor]:
    if not x.rank:
        return x, ctx.scalar(0, torch.int64)
    values, indices = selected(ctx, operation, x, dim, 1, nan_greatest=operation == "MAX")
    if keepdim:
        return values, indices
    return shapes.squeeze(ctx, values, [dim], "shape"), shapes.squeeze(ctx, indices, [dim], "shape")


@FAMILY.converter(aten.cumsum.default, wide=True)
def running_sum(ctx: ConverterContext, call: Call) -> Tensor:
    """The running sum along a dimension."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    if not x.rank:
        return x
    axis = ctx.scalar(x.axis(call.value("dim")), torch.int32)
    kind = ctx.trt.CumulativeOperation.SUM
    return ctx.emit(ctx.network.add_cumulative(x.trt, axis.trt, kind, False, False), x.shape)


@FAMILY.converter(aten.logsumexp.default, composite=True, wide=True)
def logsumexp(ctx: ConverterContext, call: Call) -> Tensor:
    """log(sum(exp(x))), without overflow."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    dims, keepdim = _dims(call), call.value("keepdim")
    top = ar.reduce(ctx, "MAX", x, dims, True, "max")
    # Subtracting an infinite maximum would give NaN.
    infinite = ar.unary(ctx, "ISINF", top, "infinite")
    shift = ar.where(ctx, infinite, 0.0, top, "shift")
    powers = ar.unary(ctx, "EXP", ar.elementwise(ctx, "SUB", x, shift, "shifted"), "exp")
    result = ar.unary(ctx, "LOG", ar.reduce(ctx, "SUM", powers, dims, True, "sum"), "log")
    result = ar.elementwise(ctx, "SUM", result, shift)
    if not keepdim and x.rank:
        result = shapes.squeeze(ctx, result, dims if dims is not None else range(x.rank), "shape")
    return result


@FAMILY.converter(aten.linalg_vector_norm.default, composite=True, wide=True)
def vector_norm(ctx: ConverterContext, call: Call) -> Tensor:
    """The p-norm along dimensions: (sum of |x|**p) ** (1/p), the extremes of |x|, or a count."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    return ar.norm(ctx, x, float(call.value("ord")), _dims(call), call.value("keepdim"))
