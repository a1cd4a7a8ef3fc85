"""Matrix products of complex tensors: as four real ones, or two where an operand is real."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch

from .arithmetic import add, minus, mul, plus
from .pair import Pair, as_pair, joined, parts, typed

aten = torch.ops.aten

# Three products would do (C. F. Gauss), but the sums in their operands lose digits, and one kernel more costs less.


def product(target: Any, *fixed: Any) -> Callable[..., Any]:
    """The rule of a product of its first two arguments."""

    def call(left: Any, right: Any, rest: Any) -> Any:
        return None if left is None or right is None else target(left, right, *rest)

    def rule(dtype: torch.dtype, self: Any, other: Any, *rest: Any) -> Pair:
        (a, b), (c, d) = parts(typed(dtype, self)), parts(typed(dtype, other))
        real = minus(call(a, c, rest), call(b, d, rest))
        return joined(real, plus(call(a, d, rest), call(b, c, rest)))

    return rule


def added(target: Any) -> Callable[..., Any]:
    """The rule of `beta * input + alpha * product`, such as `addmm`."""
    multiply = product(target)

    def rule(dtype: torch.dtype, self: Any, left: Any, right: Any, *, beta: Any = 1, alpha: Any = 1) -> Pair:
        result = multiply(dtype, left, right)
        result = result if alpha == 1 else mul(dtype, result, alpha)
        if beta == 0:
            return result
        return add(dtype, result, self if beta == 1 else mul(dtype, as_pair(dtype, self), beta))

    return rule


def linear(dtype: torch.dtype, input: Any, weight: Any, bias: Any = None) -> Pair:
    result = product(aten.linear.default)(dtype, input, weight)
    return result if bias is None else add(dtype, result, bias)


def dot(dtype: torch.dtype, self: Any, tensor: Any) -> Pair:
    return _sum(mul(dtype, self, tensor))


def vdot(dtype: torch.dtype, self: Any, tensor: Any) -> Pair:
    value = as_pair(dtype, self)
    return dot(dtype, Pair(value.real, -value.imag), tensor)


def _sum(value: Pair) -> Pair:
    return Pair(value.real.sum(), value.imag.sum())


def convolution(dtype: torch.dtype, input: Any, weight: Any, bias: Any, *rest: Any) -> Pair:
    (a, b), (c, d) = parts(typed(dtype, input)), parts(typed(dtype, weight))

    def call(left: Any, right: Any) -> Any:
        return None if left is None or right is None else aten.convolution.default(left, right, None, *rest)

    result = joined(minus(call(a, c), call(b, d)), plus(call(a, d), call(b, c)))
    if bias is None:
        return result
    shape = [-1, *[1] * (result.real.dim() - 2)]
    value = as_pair(dtype, bias)
    return add(dtype, result, Pair(value.real.reshape(shape), value.imag.reshape(shape)))


RULES: Mapping[Any, Callable[..., Any]] = MappingProxyType(
    {
        aten.mm.default: product(aten.mm.default),
        aten.bmm.default: product(aten.bmm.default),
        aten.mv.default: product(aten.mv.default),
        aten.matmul.default: product(torch.matmul),
        aten.addmm.default: added(aten.mm.default),
        aten.baddbmm.default: added(aten.bmm.default),
        aten.addmv.default: added(aten.mv.default),
        aten.addbmm.default: added(lambda left, right: aten.bmm.default(left, right).sum(0)),
        aten.linear.default: linear,
        aten.dot.default: dot,
        aten.vdot.default: vdot,
        aten.convolution.default: convolution,
    }
)
"""The rule of each operator."""
