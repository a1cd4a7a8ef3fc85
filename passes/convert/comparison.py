"""Comparisons, logic and selection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import Tensor, is_float

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("comparison")


@FAMILY.converter(aten.eq.Tensor, aten.eq.Scalar)
def equal(ctx: ConverterContext, call: Call) -> Tensor:
    """self == other."""
    return ar.compare(ctx, "EQUAL", *ar.promoted(ctx, call, "self", "other"))


@FAMILY.converter(aten.ne.Tensor, aten.ne.Scalar)
def not_equal(ctx: ConverterContext, call: Call) -> Tensor:
    """self != other."""
    return ar.invert(ctx, ar.compare(ctx, "EQUAL", *ar.promoted(ctx, call, "self", "other"), role="equal"))


@FAMILY.converter(aten.gt.Tensor, aten.gt.Scalar)
def greater(ctx: ConverterContext, call: Call) -> Tensor:
    """self > other."""
    return ar.compare(ctx, "GREATER", *ar.promoted(ctx, call, "self", "other"))


@FAMILY.converter(aten.lt.Tensor, aten.lt.Scalar)
def less(ctx: ConverterContext, call: Call) -> Tensor:
    """self < other."""
    return ar.compare(ctx, "LESS", *ar.promoted(ctx, call, "self", "other"))


@FAMILY.converter(aten.ge.Tensor, aten.ge.Scalar)
def greater_or_equal(ctx: ConverterContext, call: Call) -> Tensor:
    """self >= other."""
    return ar.compare_or_equal(ctx, "GREATER", *ar.promoted(ctx, call, "self", "other"))


@FAMILY.converter(aten.le.Tensor, aten.le.Scalar)
def less_or_equal(ctx: ConverterContext, call: Call) -> Tensor:
    """self <= other."""
    return ar.compare_or_equal(ctx, "LESS", *ar.promoted(ctx, call, "self", "other"))


_LOGIC = {aten.logical_and.default: "AND", aten.logical_or.default: "OR", aten.logical_xor.default: "XOR"}


@FAMILY.converter(*_LOGIC)
def logical(ctx: ConverterContext, call: Call) -> Tensor:
    """And, or, exclusive or; non-zero counts as True."""
    left, right = (ctx.tensor(call.arg(name)) for name in ("self", "other"))
    return ar.elementwise(ctx, _LOGIC[call.target], *ar.pair(ctx, left, right, torch.bool))


@FAMILY.converter(aten.logical_not.default)
def logical_not(ctx: ConverterContext, call: Call) -> Tensor:
    """Whether an element is zero."""
    x = ctx.tensor(call.arg("self"))
    return ar.invert(ctx, x) if x.dtype == torch.bool else ar.compare(ctx, "EQUAL", x, 0)


_FLOAT_TESTS = {aten.isnan.default: "ISNAN", aten.isinf.default: "ISINF"}


@FAMILY.converter(*_FLOAT_TESTS)
def float_test(ctx: ConverterContext, call: Call) -> Tensor:
    """Whether an element is NaN or infinite; integers never are."""
    x = ctx.tensor(call.arg("self"))
    if not is_float(x.dtype):
        return ar.full_like(ctx, x, False, torch.bool)
    return ar.unary(ctx, _FLOAT_TESTS[call.target], x)


@FAMILY.converter(aten.isfinite.default, composite=True)
def is_finite(ctx: ConverterContext, call: Call) -> Tensor:
    """Whether an element is neither NaN nor infinite."""
    x = ctx.tensor(call.arg("self"))
    if not is_float(x.dtype):
        return ar.full_like(ctx, x, True, torch.bool)
    return ar.compare(ctx, "LESS", ar.unary(ctx, "ABS", x, "abs"), math.inf)


@FAMILY.converter(aten.where.self)
def where(ctx: ConverterContext, call: Call) -> Tensor:
    """Elements of self where the condition is True, else of other."""
    then, otherwise = ar.promoted(ctx, call, "self", "other")
    condition = ar.cast(ctx, ctx.tensor(call.arg("condition")), torch.bool)
    return ar.where(ctx, condition, then, otherwise)


@FAMILY.converter(aten.masked_fill.Scalar, aten.masked_fill.Tensor, composite=True)
def masked_fill(ctx: ConverterContext, call: Call) -> Tensor:
    """The value where the mask is True, else self."""
    x, value = ar.pair(ctx, ctx.tensor(call.arg("self")), ar.operand(ctx, call.arg("value")), call.out.dtype)
    return ar.where(ctx, ctx.tensor(call.arg("mask")), value, x)
