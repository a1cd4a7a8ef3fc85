"""Remainders and rounded-down quotients of float32 numbers by constants, exact as PyTorch's `fmod`.

`x - floor(x / y) * y` takes the quotient rounded to 24 bits, and the product too: of 1e6 by 2 pi it is off by
hundredths, and of 0.3 by 0.1 by all of 0.1. Here the quotient is taken in two steps of 12 bits, and the divisor in two
parts, so that all products and differences are exact while the quotient has up to 24 bits.
"""

from __future__ import annotations

import torch

from . import arithmetic as ar
from .context import ConverterContext
from .tensor import Tensor

_STEP = 2.0**12
_HIGH_BITS = -(2**12)


def divisor_of(right: Tensor) -> torch.Tensor | None:
    """The numbers that a float32 tensor is known to have; None unless all can be divided by in steps."""
    values = right.constant
    if values is None or right.dtype != torch.float32 or values.is_complex():
        return None
    values = values.to(torch.float32)
    usual = values.isfinite() & (values.abs() > 2.0**-100) & (values.abs() < 2.0**100)
    return values if bool(usual.all()) else None


def fmod(ctx: ConverterContext, left: Tensor, right: Tensor, divisor: torch.Tensor) -> Tensor:
    """The remainder with the sign of the dividend."""
    size = divisor.abs().contiguous()
    high = (size.view(torch.int32) & _HIGH_BITS).view(torch.float32)
    rest = ar.unary(ctx, "ABS", left, "size")
    for step in (_STEP, 1.0):
        whole, first, second = (ctx.constant(part * step, "divisor") for part in (size, high, size - high))
        count = ar.unary(ctx, "FLOOR", ar.elementwise(ctx, "DIV", rest, whole, "quotient"), "count")
        rest = ar.elementwise(ctx, "SUB", rest, ar.elementwise(ctx, "PROD", count, first, "high"), "rest")
        rest = ar.elementwise(ctx, "SUB", rest, ar.elementwise(ctx, "PROD", count, second, "low"), "rest")
    # Quotients are rounded, up to a whole number or below one: they count one too many, or one too few.
    whole = ctx.constant(size, "divisor")
    less = ar.elementwise(ctx, "SUB", rest, whole, "less")
    rest = ar.where(ctx, ar.compare(ctx, "LESS", rest, whole, "within"), rest, less, "rest")
    more = ar.elementwise(ctx, "SUM", rest, whole, "more")
    rest = ar.where(ctx, ar.compare(ctx, "LESS", rest, 0.0, "below"), more, rest, "rest")
    opposite = ar.unary(ctx, "NEG", rest, "opposite")
    return ar.where(ctx, ar.compare(ctx, "LESS", left, 0.0, "negative"), opposite, rest, "fmod")


def remainder(ctx: ConverterContext, left: Tensor, right: Tensor, divisor: torch.Tensor) -> Tensor:
    """The remainder with the sign of the divisor."""
    rest = fmod(ctx, left, right, divisor)
    moved = ar.elementwise(ctx, "SUM", rest, right, "moved")
    return ar.where(ctx, _other_side(ctx, rest, divisor), moved, rest)


def floor_divide(ctx: ConverterContext, left: Tensor, right: Tensor, divisor: torch.Tensor) -> Tensor:
    """The quotient rounded down."""
    rest = fmod(ctx, left, right, divisor)
    count = ar.elementwise(ctx, "DIV", ar.elementwise(ctx, "SUB", left, rest, "multiple"), right, "quotient")
    count = ar.unary(ctx, "ROUND", count, "count")
    less = ar.binary(ctx, "SUB", count, 1.0, "less")
    return ar.where(ctx, _other_side(ctx, rest, divisor), less, count)


def _other_side(ctx: ConverterContext, rest: Tensor, divisor: torch.Tensor) -> Tensor:
    """Whether a remainder is not zero, and of another sign than the divisor."""
    signs = ctx.constant(divisor.sign(), "signs")
    turned = ar.elementwise(ctx, "PROD", rest, signs, "turned")
    return ar.compare(ctx, "LESS", turned, 0.0, "other")
