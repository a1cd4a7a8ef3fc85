"""Elementwise arithmetic and rounding: binary operators and unary functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ...compiler.ir.call import Call
from ...compiler.ir.dtypes import HALVES
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import exact_division, shapes
from ...compiler.tensorrt.in_float32 import in_float32
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import Tensor, is_float
from .signs import negative

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("pointwise")


# --- binary ----------------------------------------------------------------------------------------------------------
@FAMILY.converter(aten.add.Tensor, aten.add.Scalar)
def add(ctx: ConverterContext, call: Call) -> Tensor:
    """self + alpha * other."""
    return (_sum if _is_plain(call) else in_float32(_sum))(ctx, call)


def _sum(ctx: ConverterContext, call: Call) -> Tensor:
    left, right = ar.promoted(ctx, call, "self", "other")
    if left.dtype == torch.bool and call.value("alpha") is False:
        # TensorRT-RTX cannot build a disjunction with what is always False.
        return shapes.expand(ctx, left, shapes.broadcast(left.shape, right.shape))
    return ar.add(ctx, left, _times_alpha(ctx, call, right))


@FAMILY.converter(aten.sub.Tensor, aten.sub.Scalar)
def sub(ctx: ConverterContext, call: Call) -> Tensor:
    """self - alpha * other."""
    return (_difference if _is_plain(call) else in_float32(_difference))(ctx, call)


def _difference(ctx: ConverterContext, call: Call) -> Tensor:
    left, right = ar.promoted(ctx, call, "self", "other")
    return ar.elementwise(ctx, "SUB", left, _times_alpha(ctx, call, right))


@FAMILY.converter(aten.rsub.Tensor, aten.rsub.Scalar, composite=True)
def rsub(ctx: ConverterContext, call: Call) -> Tensor:
    """other - alpha * self."""
    return (_reverse_difference if _is_plain(call) else in_float32(_reverse_difference))(ctx, call)


def _reverse_difference(ctx: ConverterContext, call: Call) -> Tensor:
    left, right = ar.promoted(ctx, call, "self", "other")
    return ar.elementwise(ctx, "SUB", right, _times_alpha(ctx, call, left))


def _is_plain(call: Call) -> bool:
    """Whether a sum or difference is one layer: nothing is multiplied before."""
    alpha = call.value("alpha")
    return isinstance(alpha, int | float) and alpha == 1


def _times_alpha(ctx: ConverterContext, call: Call, x: Tensor) -> Tensor:
    if _is_plain(call):
        return x
    factor = ar.pair(ctx, x, ctx.tensor(call.arg("alpha")), x.dtype)[1]
    return ar.multiply(ctx, x, factor, "alpha")


@FAMILY.converter(aten.mul.Tensor, aten.mul.Scalar)
def mul(ctx: ConverterContext, call: Call) -> Tensor:
    """self * other."""
    return (in_float32(_product) if _beyond_halves(ctx, call) else _product)(ctx, call)


def _product(ctx: ConverterContext, call: Call) -> Tensor:
    return ar.multiply(ctx, *ar.promoted(ctx, call, "self", "other"))


def _beyond_halves(ctx: ConverterContext, call: Call) -> bool:
    """Whether a number that halves are multiplied or divided by may be none of theirs: too large, or too small.

    PyTorch's kernels take numbers as float32: what a mask multiplies by -1e9 is 0 where the mask is, not 0 times
    infinity, and a mean over 160,000 samples is no division by infinity.
    """
    own = call.node.meta["val"].dtype
    return own in HALVES and any(_is_beyond(ctx, call.arg(name), own) for name in ("self", "other"))


def _is_beyond(ctx: ConverterContext, argument: Any, own: torch.dtype) -> bool:
    if isinstance(argument, Node):
        value = argument.meta.get("val")
        if isinstance(value, torch.SymInt | torch.SymFloat):
            return True
        constant = ctx.constant_value(argument)
        if constant is None or constant.dim() or constant.dtype == own or constant.is_complex():
            return False
        argument = constant.item()
    rounded = torch.tensor(float(argument), dtype=torch.float64).to(own).double().item()
    return math.isfinite(argument) and abs(rounded - argument) > abs(argument) * torch.finfo(own).eps


@FAMILY.converter(aten.div.Tensor, aten.div.Scalar)
def div(ctx: ConverterContext, call: Call) -> Tensor:
    """self / other, of integers too as floats."""
    return (in_float32(_quotient) if _beyond_halves(ctx, call) else _quotient)(ctx, call)


def _quotient(ctx: ConverterContext, call: Call) -> Tensor:
    return ar.elementwise(ctx, "DIV", *_in_dtype(ctx, call, call.out.dtype))


@FAMILY.converter(aten.div.Tensor_mode, aten.div.Scalar_mode, wide=True)
def div_mode(ctx: ConverterContext, call: Call) -> Tensor:
    """self / other, rounded down or toward zero."""
    mode = call.value("rounding_mode")
    if mode == "floor":
        return _floor_divide(ctx, *_rounded(ctx, call))
    left, right = _in_dtype(ctx, call, call.out.dtype)
    return ar.elementwise(ctx, "DIV", left, right) if mode is None else ar.truncating_divide(ctx, left, right)


@FAMILY.converter(aten.floor_divide.default, aten.floor_divide.Scalar, composite=True, wide=True)
def floor_divide(ctx: ConverterContext, call: Call) -> Tensor:
    """self / other, rounded down."""
    return _floor_divide(ctx, *_rounded(ctx, call))


def _floor_divide(ctx: ConverterContext, left: Tensor, right: Tensor) -> Tensor:
    divisor = exact_division.divisor_of(right)
    if divisor is None:
        return ar.floor_divide(ctx, left, right)
    return exact_division.floor_divide(ctx, left, right, divisor)


def _rounded(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """Both operands in the result's type; numbers are rounded to halves where that is one, as PyTorch's kernels do."""
    own = call.node.meta["val"].dtype
    left, right = (ar.operand(ctx, call.arg(name)) for name in ("self", "other"))
    if own in HALVES:
        left, right = (x if isinstance(x, Tensor) else float(torch.tensor(x, dtype=own)) for x in (left, right))
    return ar.pair(ctx, left, right, call.out.dtype)


def _in_dtype(ctx: ConverterContext, call: Call, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return ar.pair(ctx, ar.operand(ctx, call.arg("self")), ar.operand(ctx, call.arg("other")), dtype)


@FAMILY.converter(aten.remainder.Tensor, aten.remainder.Scalar, aten.remainder.Scalar_Tensor, wide=True)
def remainder(ctx: ConverterContext, call: Call) -> Tensor:
    """The remainder with the sign of the divisor."""
    left, right = _rounded(ctx, call)
    divisor = exact_division.divisor_of(right)
    if divisor is None:
        return ar.remainder(ctx, left, right, sign_of_divisor=True)
    return exact_division.remainder(ctx, left, right, divisor)


@FAMILY.converter(aten.fmod.Tensor, aten.fmod.Scalar, wide=True)
def fmod(ctx: ConverterContext, call: Call) -> Tensor:
    """The remainder with the sign of the dividend."""
    left, right = _rounded(ctx, call)
    divisor = exact_division.divisor_of(right)
    if divisor is None:
        return ar.remainder(ctx, left, right, sign_of_divisor=False)
    return exact_division.fmod(ctx, left, right, divisor)


@FAMILY.converter(aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.pow.Scalar, wide=True)
def power(ctx: ConverterContext, call: Call) -> Tensor:
    """self ** exponent; small whole exponents as products, which are exact for integers and negative bases."""
    exponent = call.value("exponent")
    dtype = call.out.dtype
    if isinstance(exponent, int | float) and exponent == int(exponent) and 0 <= exponent <= 4:
        return _whole_power(ctx, ar.cast(ctx, ctx.tensor(call.arg("self")), dtype), int(exponent))
    if isinstance(exponent, float) and exponent in _ROOTS:
        return _ROOTS[exponent](ctx, ar.cast(ctx, ctx.tensor(call.arg("self")), dtype))
    base, raised = ar.pair(ctx, ar.operand(ctx, call.arg("self")), ar.operand(ctx, call.arg("exponent")), dtype)
    if is_float(dtype) or isinstance(exponent, int):
        return ar.elementwise(ctx, "POW", base, raised)
    return _integer_power(ctx, base, raised)


def _integer_power(ctx: ConverterContext, base: Tensor, exponent: Tensor) -> Tensor:
    """An integer to an integer: to a negative one 0, except of 1 and -1, whose reciprocals are integers."""
    negative = ar.compare(ctx, "LESS", exponent, 0, "negative")
    unit = ar.compare(ctx, "EQUAL", ar.unary(ctx, "ABS", base, "abs"), 1, "unit")
    size = ar.unary(ctx, "ABS", exponent, "exponent")
    power = ar.elementwise(ctx, "POW", base, size, "power")
    return ar.where(ctx, negative, ar.where(ctx, unit, power, 0, "reciprocal"), power)


def _whole_power(ctx: ConverterContext, x: Tensor, exponent: int) -> Tensor:
    if exponent == 0:
        return ar.binary(ctx, "POW", x, 0) if is_float(x.dtype) else ar.full_like(ctx, x, 1)
    result = x
    for index in range(exponent - 1):
        result = ar.multiply(ctx, result, x, "" if index == exponent - 2 else "power")
    return result


def _reciprocal_square_root(ctx: ConverterContext, x: Tensor) -> Tensor:
    return ar.unary(ctx, "RECIP", ar.unary(ctx, "SQRT", x, "sqrt"))


_ROOTS: dict[float, Callable[[ConverterContext, Tensor], Tensor]] = {
    0.5: lambda ctx, x: ar.unary(ctx, "SQRT", x),
    -0.5: _reciprocal_square_root,
    -1.0: lambda ctx, x: ar.unary(ctx, "RECIP", x),
}


@FAMILY.converter(aten.atan2.default, wide=True)
def atan2(ctx: ConverterContext, call: Call) -> Tensor:
    """The angle of the point (other, self), from -pi to pi."""
    y, x = _in_dtype(ctx, call, call.out.dtype)
    high, far = (ar.unary(ctx, "ISINF", part, "infinite") for part in (y, x))
    diagonal = ar.elementwise(ctx, "AND", high, far, "diagonal")
    rise, run = (ar.where(ctx, diagonal, ar.unary(ctx, "SIGN", part, "sign"), part, "finite") for part in (y, x))
    angle = ar.unary(ctx, "ATAN", ar.elementwise(ctx, "DIV", rise, run, "slope"), "angle")
    # The angle of a negative number is pi or -pi, by the sign of a zero beside it.
    turn = ar.where(ctx, negative(ctx, y), -math.pi, math.pi, "turn")
    turn = ar.cast(ctx, turn, angle.dtype)
    left = negative(ctx, x)
    both_zero = ar.elementwise(ctx, "AND", ar.compare(ctx, "EQUAL", x, 0), ar.compare(ctx, "EQUAL", y, 0))
    angle = ar.where(ctx, both_zero, 0.0, angle, "flat")
    return ar.where(ctx, left, ar.add(ctx, angle, turn, "turned"), angle, "half")


@FAMILY.converter(aten.hypot.default, wide=True)
def hypot(ctx: ConverterContext, call: Call) -> Tensor:
    """sqrt(self² + other²), without overflow: the greater times sqrt(1 + (the lesser / the greater)²)."""
    left, right = (ar.unary(ctx, "ABS", part, "abs") for part in _in_dtype(ctx, call, call.out.dtype))
    great, small = (ar.elementwise(ctx, kind, left, right, kind.lower()) for kind in ("MAX", "MIN"))
    ratio = ar.elementwise(ctx, "DIV", small, great, "ratio")
    root = ar.unary(ctx, "SQRT", ar.add(ctx, ar.square(ctx, ratio), 1.0, "plus"), "sqrt")
    border = ar.compare(ctx, "EQUAL", great, 0, "zero")
    border = ar.elementwise(ctx, "OR", border, ar.unary(ctx, "ISINF", great, "infinite"), "border")
    return ar.where(ctx, border, great, ar.elementwise(ctx, "PROD", great, root))


@FAMILY.converter(aten.ldexp.Tensor, wide=True)
def ldexp(ctx: ConverterContext, call: Call) -> Tensor:
    """self * 2 ** other."""
    x, exponent = _in_dtype(ctx, call, call.out.dtype)
    power = ar.elementwise(ctx, "POW", ctx.scalar(2.0, exponent.dtype, exponent.rank), exponent, "power")
    return ar.elementwise(ctx, "PROD", x, power)


# --- unary -----------------------------------------------------------------------------------------------------------
_FLOAT_FUNCTIONS = {
    aten.exp.default: "EXP",
    aten.log.default: "LOG",
    aten.sqrt.default: "SQRT",
    aten.reciprocal.default: "RECIP",
    aten.sin.default: "SIN",
    aten.cos.default: "COS",
    aten.tan.default: "TAN",
    aten.sinh.default: "SINH",
    aten.cosh.default: "COSH",
    aten.asin.default: "ASIN",
    aten.acos.default: "ACOS",
    aten.atan.default: "ATAN",
    aten.asinh.default: "ASINH",
    aten.acosh.default: "ACOSH",
    aten.atanh.default: "ATANH",
    aten.erf.default: "ERF",
}
_ROUNDINGS = {aten.ceil.default: "CEIL", aten.floor.default: "FLOOR", aten.round.default: "ROUND"}


def floating(ctx: ConverterContext, call: Call, name: str = "self") -> Tensor:
    """An argument in the (floating-point) dtype of the result."""
    return ar.cast(ctx, ctx.tensor(call.arg(name)), call.out.dtype)


@FAMILY.converter(*_FLOAT_FUNCTIONS)
def float_function(ctx: ConverterContext, call: Call) -> Tensor:
    """A function that TensorRT has; integers are converted to floats first."""
    return ar.unary(ctx, _FLOAT_FUNCTIONS[call.target], floating(ctx, call))


@FAMILY.converter(aten.rsqrt.default, wide=True)
def rsqrt(ctx: ConverterContext, call: Call) -> Tensor:
    """1 / sqrt(self)."""
    return _reciprocal_square_root(ctx, floating(ctx, call))


@FAMILY.converter(aten.expm1.default, wide=True)
def expm1(ctx: ConverterContext, call: Call) -> Tensor:
    """exp(self) - 1, as 2 exp(x/2) sinh(x/2) near zero, where the difference itself would lose all digits."""
    x = floating(ctx, call)
    half = ar.binary(ctx, "PROD", x, 0.5, "half")
    power, sine = (ar.unary(ctx, operation, half, operation.lower()) for operation in ("EXP", "SINH"))
    near = ar.multiply(ctx, ar.elementwise(ctx, "PROD", power, sine, "product"), 2.0, "near")
    far = ar.binary(ctx, "SUB", ar.unary(ctx, "EXP", x, "exp"), 1.0, "far")
    small = ar.compare(ctx, "LESS", ar.unary(ctx, "ABS", x, "abs"), 1.0, "small")
    return ar.where(ctx, small, near, far)


@FAMILY.converter(aten.log1p.default, wide=True)
def log1p(ctx: ConverterContext, call: Call) -> Tensor:
    """log(1 + self), as 2 atanh(x / (2 + x)) near zero, where the sum itself would lose all digits."""
    x = floating(ctx, call)
    ratio = ar.elementwise(ctx, "DIV", x, ar.add(ctx, x, 2.0, "shifted"), "ratio")
    near = ar.multiply(ctx, ar.unary(ctx, "ATANH", ratio, "atanh"), 2.0, "near")
    far = ar.unary(ctx, "LOG", ar.add(ctx, x, 1.0, "plus"), "far")
    small = ar.compare(ctx, "LESS", ar.unary(ctx, "ABS", x, "abs"), 0.5, "small")
    return ar.where(ctx, small, near, far)


@FAMILY.converter(aten.log2.default, aten.log10.default, wide=True)
def log_base(ctx: ConverterContext, call: Call) -> Tensor:
    """The logarithm to base 2 or 10."""
    base = 2.0 if call.target is aten.log2.default else 10.0
    return ar.multiply(ctx, ar.unary(ctx, "LOG", floating(ctx, call), "log"), 1.0 / math.log(base))


@FAMILY.converter(aten.exp2.default, composite=True, wide=True)
def exp2(ctx: ConverterContext, call: Call) -> Tensor:
    """2 ** self."""
    x = floating(ctx, call)
    return ar.elementwise(ctx, "POW", ctx.scalar(2.0, x.dtype, x.rank), x)


@FAMILY.converter(*_ROUNDINGS)
def rounding(ctx: ConverterContext, call: Call) -> Tensor:
    """Round up, down, or to the nearest (of two the even one); integers are what they are."""
    x = ctx.tensor(call.arg("self"))
    return ar.unary(ctx, _ROUNDINGS[call.target], x) if is_float(x.dtype) else x


@FAMILY.converter(aten.round.decimals, composite=True, wide=True)
def round_decimals(ctx: ConverterContext, call: Call) -> Tensor:
    """Round to a number of decimals (negative: before the point)."""
    x, decimals = ctx.tensor(call.arg("self")), call.value("decimals")
    if not is_float(x.dtype):
        return x
    scale, back = ("PROD", "DIV") if decimals >= 0 else ("DIV", "PROD")
    factor = float(10 ** abs(decimals))
    rounded = ar.unary(ctx, "ROUND", ar.binary(ctx, scale, x, factor, "scaled"), "round")
    return ar.binary(ctx, back, rounded, factor)


@FAMILY.converter(aten.trunc.default)
def trunc(ctx: ConverterContext, call: Call) -> Tensor:
    """Round toward zero."""
    x = ctx.tensor(call.arg("self"))
    return ar.truncate(ctx, x) if is_float(x.dtype) else x


@FAMILY.converter(aten.frac.default, composite=True)
def frac(ctx: ConverterContext, call: Call) -> Tensor:
    """What rounding toward zero drops."""
    x = ctx.tensor(call.arg("self"))
    return ar.elementwise(ctx, "SUB", x, ar.truncate(ctx, x, "whole"))


@FAMILY.converter(aten.square.default, composite=True)
def square(ctx: ConverterContext, call: Call) -> Tensor:
    """self * self."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    return ar.square(ctx, x, "")
