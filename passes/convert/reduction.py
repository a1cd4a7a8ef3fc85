"""Reductions, extremes with their places, order, and running sums."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ...compiler.call import Call
from ...compiler.symbols import Dim
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.tensor import Tensor, is_float
from .conditions import static_dims, value_is
from .registry import Condition, Family

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("reduction")

MAX_K = 3840
"""The most elements that TensorRT's top-k layer selects."""


def _dims(call: Call) -> list[int] | None:
    """The dimensions to reduce over; an empty list means all, as None does."""
    dims = call.value("dim")
    return [dims] if isinstance(dims, int) else list(dims) if dims else None


@FAMILY.converter(aten.sum.default, aten.sum.dim_IntList)
def total(ctx: ConverterContext, call: Call) -> Tensor:
    """The sum, of integers and booleans as int64."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    dims = None if call.target is aten.sum.default else _dims(call)
    return ar.reduce(ctx, "SUM", x, dims, "keepdim" in call.args and call.value("keepdim"))


@FAMILY.converter(aten.prod.default, aten.prod.dim_int)
def product(ctx: ConverterContext, call: Call) -> Tensor:
    """The product, of integers and booleans as int64."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    if call.target is aten.prod.default:
        return ar.reduce(ctx, "PROD", x, None)
    return ar.reduce(ctx, "PROD", x, [call.value("dim")], call.value("keepdim"))


@FAMILY.converter(aten.mean.default, aten.mean.dim)
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


@FAMILY.converter(aten.var.dim, aten.var.correction)
def variance(ctx: ConverterContext, call: Call) -> Tensor:
    """The variance."""
    return _variance(ctx, call)[0]


@FAMILY.converter(aten.std.dim, aten.std.correction, composite=True)
def deviation(ctx: ConverterContext, call: Call) -> Tensor:
    """The standard deviation."""
    return ar.unary(ctx, "SQRT", _variance(ctx, call)[0])


@FAMILY.converter(aten.var_mean.correction, aten.std_mean.correction, composite=True)
def variance_and_mean(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The variance or standard deviation, and the mean."""
    spread, mean = _variance(ctx, call)
    return (ar.unary(ctx, "SQRT", spread) if call.target is aten.std_mean.correction else spread), mean


def _variance(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    x, dims, keepdim = ctx.tensor(call.arg("self")), _dims(call), call.value("keepdim")
    correction = call.value("correction") if "correction" in call.args else int(call.value("unbiased"))
    correction = 1 if correction is None else correction
    wide = ar.cast(ctx, x, torch.float32, "wide")
    mean = ar.reduce(ctx, "AVG", wide, dims, True, "mean")
    squares = ar.square(ctx, ar.elementwise(ctx, "SUB", wide, mean, "centred"))
    if correction == 0:
        result = ar.reduce(ctx, "AVG", squares, dims, keepdim, "variance")
    else:
        total = ar.reduce(ctx, "SUM", squares, dims, keepdim, "sum")
        result = ar.multiply(ctx, total, _reciprocal_count(ctx, x, dims, correction), "variance")
    kept = mean if keepdim else shapes.reshape(ctx, mean, result.shape, "mean.shape")
    return ar.cast(ctx, result, x.dtype), ar.cast(ctx, kept, x.dtype)


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
        index = _selected(ctx, operation, flat, 0, 1)[1]
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
    values, indices = _selected(ctx, operation, x, dim, 1)
    if keepdim:
        return values, indices
    return shapes.squeeze(ctx, values, [dim], "shape"), shapes.squeeze(ctx, indices, [dim], "shape")


def _selected(ctx: ConverterContext, operation: str, x: Tensor, dim: int, k: Dim) -> tuple[Tensor, Tensor]:
    """The k greatest or least elements of a dimension in order, and their indices as int64."""
    if x.dtype == torch.bool:
        values, indices = _selected(ctx, operation, ar.cast(ctx, x, torch.int32), dim, k)
        return ar.cast(ctx, values, torch.bool), indices
    if x.rank == 1:
        # TensorRT's top-k layer wants at least two dimensions.
        values, indices = _selected(ctx, operation, shapes.unsqueeze(ctx, x, 0, "rank"), 1, k)
        return shapes.squeeze(ctx, values, [0], "shape"), shapes.squeeze(ctx, indices, [0], "shape")
    axis = x.axis(dim)
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    layer = ctx.network.add_topk(
        x.trt, getattr(ctx.trt.TopKOperation, operation), k if isinstance(k, int) else 1, 1 << axis
    )
    if layer is not None and not isinstance(k, int):
        layer.set_input(1, shapes.reshape(ctx, ctx.sizes.tensor(k), (), "k").trt)
    ctx.enter(layer, "")
    values, indices = ctx.output(layer, 0, shape), ctx.output(layer, 1, shape)
    return values, ar.cast(ctx, indices, torch.int64)


@FAMILY.converter(
    aten.topk.default,
    conditions=[value_is("k", lambda k: not isinstance(k, int) or k <= MAX_K, f"at most {MAX_K}")],
)
def topk(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The k greatest (or least) elements of a dimension, and their indices."""
    x, k, dim = ctx.tensor(call.arg("self")), shapes.size_of(call.value("k")), call.value("dim")
    if not x.rank:
        return x, ctx.scalar(0, torch.int64)
    return _selected(ctx, "MAX" if call.value("largest") else "MIN", x, dim, k)


def _sorted_size(call: Call) -> str | None:
    x = call.value("self")
    size = x.shape[call.value("dim")] if x.dim() else 1
    if not isinstance(size, int) or size <= MAX_K:
        return None
    return f"{call.op}: the sorted dimension has {size} elements, but TensorRT sorts at most {MAX_K}"


@FAMILY.converter(
    aten.sort.default,
    aten.sort.stable,
    conditions=[
        static_dims("self", lambda call: [call.value("dim")], "the sorted dimension"),
        Condition("TP205", f"the sorted dimension has at most {MAX_K} elements", _sorted_size),
    ],
)
def sort(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The elements of a dimension in order, and their indices."""
    x = ctx.tensor(call.arg("self"))
    if not x.rank:
        return x, ctx.scalar(0, torch.int64)
    axis = x.axis(call.value("dim"))
    return _selected(ctx, "MAX" if call.value("descending") else "MIN", x, axis, x.shape[axis])


@FAMILY.converter(aten.cumsum.default)
def running_sum(ctx: ConverterContext, call: Call) -> Tensor:
    """The running sum along a dimension."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    if not x.rank:
        return x
    axis = ctx.scalar(x.axis(call.value("dim")), torch.int32)
    kind = ctx.trt.CumulativeOperation.SUM
    return ctx.emit(ctx.network.add_cumulative(x.trt, axis.trt, kind, False, False), x.shape)


@FAMILY.converter(aten.logsumexp.default, composite=True)
def logsumexp(ctx: ConverterContext, call: Call) -> Tensor:
    """log(sum(exp(x))), without overflow."""
    x, dims, keepdim = ctx.tensor(call.arg("self")), _dims(call), call.value("keepdim")
    wide = ar.cast(ctx, x, torch.float32 if is_float(x.dtype) else call.out.dtype, "wide")
    top = ar.reduce(ctx, "MAX", wide, dims, True, "max")
    # Subtracting an infinite maximum would give NaN.
    infinite = ar.unary(ctx, "ISINF", top, "infinite")
    shift = ar.where(ctx, infinite, 0.0, top, "shift")
    powers = ar.unary(ctx, "EXP", ar.elementwise(ctx, "SUB", wide, shift, "shifted"), "exp")
    result = ar.unary(ctx, "LOG", ar.reduce(ctx, "SUM", powers, dims, True, "sum"), "log")
    result = ar.elementwise(ctx, "SUM", result, shift)
    if not keepdim and x.rank:
        result = shapes.squeeze(ctx, result, dims if dims is not None else range(x.rank), "shape")
    return ar.cast(ctx, result, call.out.dtype)


@FAMILY.converter(aten.linalg_vector_norm.default, composite=True)
def vector_norm(ctx: ConverterContext, call: Call) -> Tensor:
    """The p-norm along dimensions, summed in f32: (sum of |x|**p) ** (1/p), the extremes of |x|, or a count."""
    x, order = ctx.tensor(call.arg("self")), float(call.value("ord"))
    dims, keepdim = _dims(call), call.value("keepdim")
    size = ar.unary(ctx, "ABS", ar.cast(ctx, x, torch.float32, "wide"), "abs")
    if math.isinf(order):
        result = ar.reduce(ctx, "MAX" if order > 0 else "MIN", size, dims, keepdim)
    elif order == 0:
        present = ar.cast(ctx, ar.cast(ctx, size, torch.bool), torch.float32, "present")
        result = ar.reduce(ctx, "SUM", present, dims, keepdim)
    elif order == 1:
        result = ar.reduce(ctx, "SUM", size, dims, keepdim)
    elif order == 2:
        result = ar.unary(ctx, "SQRT", ar.reduce(ctx, "SUM", ar.square(ctx, size), dims, keepdim, "sum"))
    else:
        powers = ar.binary(ctx, "POW", size, order, "power")
        result = ar.binary(ctx, "POW", ar.reduce(ctx, "SUM", powers, dims, keepdim, "sum"), 1 / order)
    return ar.cast(ctx, result, call.out.dtype)
