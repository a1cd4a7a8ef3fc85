"""Signs: magnitude, negation, and what follows from the sign alone."""

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
FAMILY = Family("signs")


@FAMILY.converter(aten.abs.default)
def absolute(ctx: ConverterContext, call: Call) -> Tensor:
    """The magnitude."""
    x = ctx.tensor(call.arg("self"))
    return x if x.dtype == torch.bool else ar.unary(ctx, "ABS", x)


@FAMILY.converter(aten.neg.default)
def neg(ctx: ConverterContext, call: Call) -> Tensor:
    """-self."""
    return ar.unary(ctx, "NEG", ctx.tensor(call.arg("self")))


@FAMILY.converter(aten.sign.default, aten.sgn.default)
def sign(ctx: ConverterContext, call: Call) -> Tensor:
    """-1, 0 or 1; of a NaN 0."""
    x = ctx.tensor(call.arg("self"))
    if not is_float(x.dtype):
        return x if x.dtype == torch.bool else ar.unary(ctx, "SIGN", x)
    one, zero, minus = (ctx.scalar(value, x.dtype, x.rank) for value in (1.0, 0.0, -1.0))
    other = ar.where(ctx, ar.compare(ctx, "LESS", x, 0, "below"), minus, zero, "other")
    return ar.where(ctx, ar.compare(ctx, "GREATER", x, 0, "above"), one, other)


def negative(ctx: ConverterContext, x: Tensor) -> Tensor:
    """Whether the sign bit is set, of -0.0 too; that of a NaN counts as not set."""
    below = ar.compare(ctx, "LESS", x, 0, "below")
    if not is_float(x.dtype):
        return below
    # The reciprocal of -0.0 is minus infinity.
    zero = ar.compare(ctx, "EQUAL", x, 0, "zero")
    minus = ar.compare(ctx, "LESS", ar.unary(ctx, "RECIP", x, "reciprocal"), 0, "minus")
    return ar.elementwise(ctx, "OR", below, ar.elementwise(ctx, "AND", zero, minus, "minus_zero"), "negative")


@FAMILY.converter(aten.signbit.default)
def signbit(ctx: ConverterContext, call: Call) -> Tensor:
    """Whether the sign bit is set."""
    return negative(ctx, ctx.tensor(call.arg("self")))


@FAMILY.converter(aten.copysign.Tensor, aten.copysign.Scalar)
def copysign(ctx: ConverterContext, call: Call) -> Tensor:
    """The magnitude of self with the sign of other."""
    x, sign = (ar.operand(ctx, call.arg(name)) for name in ("self", "other"))
    x, sign = ar.pair(ctx, x, sign, call.out.dtype)
    size = ar.unary(ctx, "ABS", x, "abs")
    return ar.where(ctx, negative(ctx, sign), ar.unary(ctx, "NEG", size, "opposite"), size)


@FAMILY.converter(aten.angle.default)
def angle(ctx: ConverterContext, call: Call) -> Tensor:
    """pi for negative numbers, 0 for others, NaN for NaN."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    turned = ar.where(ctx, ar.compare(ctx, "LESS", x, 0, "below"), math.pi, 0.0, "angle")
    turned = ar.cast(ctx, turned, x.dtype)
    return ar.where(ctx, ar.unary(ctx, "ISNAN", x, "isnan"), x, turned)
