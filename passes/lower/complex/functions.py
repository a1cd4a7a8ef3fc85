"""Exponentials, logarithms, powers, trigonometric and hyperbolic functions of complex tensors, and their inverses.

Cancellation and overflow are avoided where the obvious formula has them. The inverse functions follow W. Kahan,
"Branch cuts for complex elementary functions" (1987).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from .arithmetic import absolute, add, angle, conj, div, mul, nonzero, reciprocal, sub
from .pair import Pair, as_pair, joined, parts, typed

aten = torch.ops.aten

_LARGE = 20.0
"""From here on, 1 + exp(-2 x) is 1 in float32 and float64."""


def exp(dtype: torch.dtype, self: Pair) -> Pair:
    size = torch.exp(self.real)
    return Pair(size * torch.cos(self.imag), size * torch.sin(self.imag))


def exp2(dtype: torch.dtype, self: Pair) -> Pair:
    return exp(dtype, mul(dtype, self, math.log(2)))


def expm1(dtype: torch.dtype, self: Pair) -> Pair:
    """exp(x) cos(y) - 1 as (exp(x) - 1) cos(y) + (cos(y) - 1), which keeps the digits of small numbers."""
    half = torch.sin(self.imag / 2)
    real = torch.expm1(self.real) * torch.cos(self.imag) - 2 * half * half
    return Pair(real, torch.exp(self.real) * torch.sin(self.imag))


def log(dtype: torch.dtype, self: Pair) -> Pair:
    """The logarithm. Near absolute value 1, |z|² - 1 is (x - 1) (x + 1) + y², of which log1p keeps the digits."""
    real, imag = self.real.abs(), self.imag.abs()
    great, small = torch.maximum(real, imag), torch.minimum(real, imag)
    near = (great - 1) * (great + 1) + small * small
    far = torch.log(absolute(dtype, self))
    return Pair(torch.where(near.abs() < 0.5, torch.log1p(near) / 2, far), angle(dtype, self))


def _log_to(base: float) -> Callable[[torch.dtype, Pair], Pair]:
    def rule(dtype: torch.dtype, self: Pair) -> Pair:
        return mul(dtype, log(dtype, self), 1 / math.log(base))

    return rule


def log1p(dtype: torch.dtype, self: Pair) -> Pair:
    """|1 + z|² is 1 + x (2 + x) + y², which near 1 is taken without the 1."""
    near = self.real * (2 + self.real) + self.imag * self.imag
    moved = Pair(self.real + 1, self.imag)
    large = torch.log(absolute(dtype, moved))
    return Pair(torch.where(near.abs() < 0.5, torch.log1p(near) / 2, large), angle(dtype, moved))


def sqrt(dtype: torch.dtype, self: Pair) -> Pair:
    """The root with a real part that is not negative."""
    side = torch.sqrt((self.real.abs() + absolute(dtype, self)) / 2)
    zero = side == 0
    other = self.imag / (2 * torch.where(zero, torch.ones_like(side), side))
    right = self.real >= 0
    return Pair(torch.where(right, side, other.abs()), torch.where(right, other, torch.copysign(side, self.imag)))


def rsqrt(dtype: torch.dtype, self: Pair) -> Pair:
    return reciprocal(dtype, sqrt(dtype, self))


def power(dtype: torch.dtype, self: Any, exponent: Any) -> Pair:
    """A power by the exponent's value where it is a small number, else by the logarithm.

    0 to a power with a positive real part is 0; to others it is what the logarithm of 0 makes of it, as in PyTorch.
    """
    if isinstance(exponent, complex) and exponent.imag == 0:
        exponent = exponent.real
    if isinstance(exponent, int | float) and isinstance(self, Pair):
        exact = _small_power(dtype, self, exponent)
        if exact is not None:
            return exact
    if isinstance(self, int | float | complex):
        self = joined(torch.full_like(as_pair(dtype, exponent).real, complex(self).real), complex(self).imag)
    base, exponent = as_pair(dtype, self), typed(dtype, exponent)
    result = exp(dtype, mul(dtype, log(dtype, base), exponent))
    zero, positive = torch.logical_not(nonzero(base)), parts(exponent)[0] > 0
    if not isinstance(positive, Tensor):
        if not positive:
            return result
    else:
        zero = torch.logical_and(zero, positive)
    return Pair(*(torch.where(zero, torch.zeros_like(part), part) for part in (result.real, result.imag)))


def _small_power(dtype: torch.dtype, base: Pair, exponent: float) -> Pair | None:
    if exponent == 0:
        return joined(torch.ones_like(base.real), 0)
    if exponent == 0.5:
        return sqrt(dtype, base)
    if exponent == -0.5:
        return rsqrt(dtype, base)
    if exponent != int(exponent) or abs(exponent) > 4:
        return None
    result = base
    for _ in range(abs(int(exponent)) - 1):
        result = mul(dtype, result, base)
    return result if exponent > 0 else reciprocal(dtype, result)


def sin(dtype: torch.dtype, self: Pair) -> Pair:
    x, y = self.real, self.imag
    return Pair(torch.sin(x) * torch.cosh(y), torch.cos(x) * torch.sinh(y))


def cos(dtype: torch.dtype, self: Pair) -> Pair:
    x, y = self.real, self.imag
    return Pair(torch.cos(x) * torch.cosh(y), -torch.sin(x) * torch.sinh(y))


def sinh(dtype: torch.dtype, self: Pair) -> Pair:
    x, y = self.real, self.imag
    return Pair(torch.sinh(x) * torch.cos(y), torch.cosh(x) * torch.sin(y))


def cosh(dtype: torch.dtype, self: Pair) -> Pair:
    x, y = self.real, self.imag
    return Pair(torch.cosh(x) * torch.cos(y), torch.sinh(x) * torch.sin(y))


def tanh(dtype: torch.dtype, self: Pair) -> Pair:
    """(tanh x (1 + tan² y) + i tan y / cosh² x) / (1 + tanh² x tan² y), times cos² y above and below."""
    x, y = torch.clamp(self.real, -_LARGE, _LARGE), self.imag
    flat, (sine, cosine) = torch.tanh(x), (torch.sin(y), torch.cos(y))
    steep = 1 / torch.cosh(x)
    below = cosine * cosine + flat * flat * sine * sine
    return Pair(flat / below, sine * cosine * steep * steep / below)


def tan(dtype: torch.dtype, self: Pair) -> Pair:
    return _unturned(tanh(dtype, _turned(self)))


def sigmoid(dtype: torch.dtype, self: Pair) -> Pair:
    return reciprocal(dtype, add(dtype, exp(dtype, Pair(-self.real, -self.imag)), 1))


def silu(dtype: torch.dtype, self: Pair) -> Pair:
    return div(dtype, self, add(dtype, exp(dtype, Pair(-self.real, -self.imag)), 1))


def asin(dtype: torch.dtype, self: Pair) -> Pair:
    left, right = _roots(dtype, self)
    real = torch.atan2(self.real, _real_of_product(left, right))
    return Pair(real, torch.asinh(_imag_of_product(conj(dtype, left), right)))


def acos(dtype: torch.dtype, self: Pair) -> Pair:
    left, right = _roots(dtype, self)
    real = 2 * torch.atan2(left.real, right.real)
    return Pair(real, torch.asinh(_imag_of_product(conj(dtype, right), left)))


def acosh(dtype: torch.dtype, self: Pair) -> Pair:
    left, right = sqrt(dtype, sub(dtype, self, 1)), sqrt(dtype, add(dtype, self, 1))
    real = torch.asinh(_real_of_product(conj(dtype, left), right))
    return Pair(real, 2 * torch.atan2(left.imag, right.real))


def atanh(dtype: torch.dtype, self: Pair) -> Pair:
    """The real part is log(|1 + z| / |1 - z|) / 2. Away from 1, log1p keeps the digits of small numbers."""
    x, y = self.real.abs(), self.imag
    gap = torch.hypot(1 - x, y)
    close = gap < 0.5
    gap = torch.where(close, gap, torch.ones_like(gap))
    near = (torch.log(torch.hypot(1 + x, y)) - torch.log(gap)) / 2
    far = torch.log1p(4 * x / torch.where(close, torch.ones_like(gap), (1 - x) * (1 - x) + y * y)) / 4
    real = torch.copysign(torch.where(close, near, far), self.real)
    return Pair(real, torch.atan2(2 * y, (1 - x) * (1 + x) - y * y) / 2)


def asinh(dtype: torch.dtype, self: Pair) -> Pair:
    return _unturned(asin(dtype, _turned(self)))


def atan(dtype: torch.dtype, self: Pair) -> Pair:
    return _unturned(atanh(dtype, _turned(self)))


def _turned(value: Pair) -> Pair:
    """i z."""
    return Pair(-value.imag, value.real)


def _unturned(value: Pair) -> Pair:
    """-i z."""
    return Pair(value.imag, -value.real)


def _roots(dtype: torch.dtype, value: Pair) -> tuple[Pair, Pair]:
    """The roots of 1 - z and 1 + z."""
    return sqrt(dtype, sub(dtype, 1, value)), sqrt(dtype, add(dtype, value, 1))


def _real_of_product(left: Pair, right: Pair) -> Tensor:
    return left.real * right.real - left.imag * right.imag


def _imag_of_product(left: Pair, right: Pair) -> Tensor:
    return left.real * right.imag + left.imag * right.real


RULES: Mapping[Any, Callable[..., Any]] = MappingProxyType(
    {
        aten.exp.default: exp,
        aten.exp2.default: exp2,
        aten.expm1.default: expm1,
        aten.log.default: log,
        aten.log2.default: _log_to(2),
        aten.log10.default: _log_to(10),
        aten.log1p.default: log1p,
        aten.sqrt.default: sqrt,
        aten.rsqrt.default: rsqrt,
        aten.pow.Tensor_Scalar: power,
        aten.pow.Tensor_Tensor: power,
        aten.pow.Scalar: power,
        aten.sin.default: sin,
        aten.cos.default: cos,
        aten.tan.default: tan,
        aten.sinh.default: sinh,
        aten.cosh.default: cosh,
        aten.tanh.default: tanh,
        aten.sigmoid.default: sigmoid,
        aten.silu.default: silu,
        aten.asin.default: asin,
        aten.acos.default: acos,
        aten.atan.default: atan,
        aten.asinh.default: asinh,
        aten.acosh.default: acosh,
        aten.atanh.default: atanh,
    }
)
"""The rule of each operator."""
