"""Sums, products, quotients, absolute values and angles of complex tensors.

A rule takes the real type that its parts compute in, then the operator's arguments with a `Pair` for every complex
tensor, and returns what the operator would, with a `Pair` for every complex result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from .pair import Pair, joined, parts, typed

aten = torch.ops.aten


def plus(left: Any, right: Any) -> Any:
    """The sum of two parts: tensors, numbers, or None for what is not there."""
    return right if left is None else left if right is None else left + right


def minus(left: Any, right: Any) -> Any:
    """The difference of two parts."""
    return left if right is None else -right if left is None else left - right


def times(left: Any, right: Any) -> Any:
    """The product of two parts."""
    return None if left is None or right is None else left * right


def add(dtype: torch.dtype, self: Any, other: Any, alpha: Any = 1) -> Pair:
    (a, b), (c, d) = parts(typed(dtype, self)), parts(_scaled(dtype, other, alpha))
    return joined(plus(a, c), plus(b, d))


def sub(dtype: torch.dtype, self: Any, other: Any, alpha: Any = 1) -> Pair:
    (a, b), (c, d) = parts(typed(dtype, self)), parts(_scaled(dtype, other, alpha))
    return joined(minus(a, c), minus(b, d))


def rsub(dtype: torch.dtype, self: Any, other: Any, alpha: Any = 1) -> Pair:
    return sub(dtype, other, self, alpha)


def mul(dtype: torch.dtype, self: Any, other: Any) -> Pair:
    """The product; of a real tensor, both parts are multiplied by it."""
    (a, b), (c, d) = parts(typed(dtype, self)), parts(typed(dtype, other))
    return joined(minus(times(a, c), times(b, d)), plus(times(a, d), times(b, c)))


def div(dtype: torch.dtype, self: Any, other: Any) -> Pair:
    """The quotient. The divisor is scaled so that its square neither overflows nor vanishes."""
    (a, b), (c, d) = parts(typed(dtype, self)), parts(typed(dtype, other))
    if d is None:
        return joined(a / c, b / c)
    if not isinstance(d, Tensor):
        return mul(dtype, self, 1 / complex(c or 0, d))
    scale = torch.maximum(c.abs(), d.abs())
    c, d = c / scale, d / scale
    square = (c * c + d * d) * scale
    return joined(plus(times(a, c), times(b, d)) / square, minus(times(b, c), times(a, d)) / square)


def reciprocal(dtype: torch.dtype, self: Pair) -> Pair:
    return div(dtype, 1, self)


def neg(dtype: torch.dtype, self: Pair) -> Pair:
    return Pair(-self.real, -self.imag)


def conj(dtype: torch.dtype, self: Pair) -> Pair:
    return Pair(self.real, -self.imag)


def square(dtype: torch.dtype, self: Pair) -> Pair:
    return Pair((self.real - self.imag) * (self.real + self.imag), 2 * self.real * self.imag)


def absolute(dtype: torch.dtype, self: Pair) -> Tensor:
    return torch.hypot(self.real, self.imag)


def angle(dtype: torch.dtype, self: Pair) -> Tensor:
    return torch.atan2(self.imag, self.real)


def sgn(dtype: torch.dtype, self: Pair) -> Pair:
    """The number of absolute value 1 with the same angle, or 0."""
    size = absolute(dtype, self)
    size = torch.where(size == 0, torch.ones_like(size), size)
    return Pair(self.real / size, self.imag / size)


def polar(dtype: torch.dtype, abs: Tensor, angle: Tensor) -> Pair:
    return joined(abs * torch.cos(angle), abs * torch.sin(angle))


def addcmul(dtype: torch.dtype, self: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Pair:
    return add(dtype, self, mul(dtype, tensor1, tensor2), value)


def addcdiv(dtype: torch.dtype, self: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Pair:
    return add(dtype, self, div(dtype, tensor1, tensor2), value)


def equal(dtype: torch.dtype, self: Any, other: Any) -> Tensor:
    (a, b), (c, d) = parts(typed(dtype, self)), parts(typed(dtype, other))
    return torch.logical_and(_same(a, c), _same(b, d))


def unequal(dtype: torch.dtype, self: Any, other: Any) -> Tensor:
    return torch.logical_not(equal(dtype, self, other))


def nonzero(value: Any) -> Any:
    """Where a complex tensor is not zero; any other as it is."""
    return torch.logical_or(value.real != 0, value.imag != 0) if isinstance(value, Pair) else value


def _same(left: Any, right: Any) -> Tensor:
    left, right = (0 if part is None else part for part in (left, right))
    same: Tensor = left == right if isinstance(left, Tensor) else right == left
    return same


def _scaled(dtype: torch.dtype, value: Any, alpha: Any) -> Any:
    value = typed(dtype, value)
    if alpha == 1:
        return value
    return mul(dtype, value, alpha) if isinstance(value, Pair) or isinstance(alpha, complex) else value * alpha


def _logical(operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda dtype, *operands: operator(*map(nonzero, operands))


def _either(test: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda dtype, self: torch.logical_or(test(self.real), test(self.imag))


RULES: Mapping[Any, Callable[..., Any]] = MappingProxyType(
    {
        aten.add.Tensor: add,
        aten.add.Scalar: add,
        aten.sub.Tensor: sub,
        aten.sub.Scalar: sub,
        aten.rsub.Tensor: rsub,
        aten.rsub.Scalar: rsub,
        aten.mul.Tensor: mul,
        aten.mul.Scalar: mul,
        aten.div.Tensor: div,
        aten.div.Scalar: div,
        aten.true_divide.Tensor: div,
        aten.addcmul.default: addcmul,
        aten.addcdiv.default: addcdiv,
        aten.reciprocal.default: reciprocal,
        aten.neg.default: neg,
        aten.positive.default: lambda dtype, self: self,
        aten._conj.default: conj,
        aten._conj_physical.default: conj,
        aten.conj_physical.default: conj,
        aten.resolve_conj.default: lambda dtype, self: self,
        aten.square.default: square,
        aten.abs.default: absolute,
        aten.angle.default: angle,
        aten.sgn.default: sgn,
        aten.polar.default: polar,
        aten.eq.Tensor: equal,
        aten.eq.Scalar: equal,
        aten.ne.Tensor: unequal,
        aten.ne.Scalar: unequal,
        aten.logical_and.default: _logical(torch.logical_and),
        aten.logical_or.default: _logical(torch.logical_or),
        aten.logical_xor.default: _logical(lambda left, right: torch.logical_xor(left, right)),
        aten.logical_not.default: _logical(torch.logical_not),
        aten.isnan.default: _either(torch.isnan),
        aten.isinf.default: _either(torch.isinf),
        aten.isfinite.default: lambda dtype, self: torch.logical_and(
            torch.isfinite(self.real), torch.isfinite(self.imag)
        ),
        aten.complex.default: lambda dtype, real, imag: joined(real, imag),
    }
)
"""The rule of each operator."""
