"""Bitwise operators and shifts. TensorRT has them for booleans only; for integers they are arithmetic.

Floor division by a power of two shifts right as two's complement does, so bit k of x is floor(x / 2**k) mod 2. The
highest bit has the weight -2**(width - 1), and no intermediate value overflows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...compiler.ir.call import Call
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import Tensor
from .conditions import dtype_of
from .indexing import gathered

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("bitwise")

_INTEGERS = (torch.int32, torch.int64)


def _rank(call: Call) -> str | None:
    rank, dtype = call.out.dim(), call.out.dtype
    if dtype == torch.bool or rank <= 7:
        return None
    return f"{call.op}: the result has rank {rank}, but the bits of an integer need one dimension of TensorRT's 8"


_LOGIC = [
    *(dtype_of(name, (torch.bool, *_INTEGERS)) for name in ("self", "other")),
    Condition("TP202", "integers have rank 0 to 7", _rank),
]
_SHIFT = [dtype_of(name, _INTEGERS) for name in ("self", "other")]


def _overloads(name: str, dunder: str, *forms: str) -> tuple[Any, ...]:
    """The forms of an operator that take tensors, and those of Python's operator, which come in two."""
    packets = ((name, forms), (dunder, ("Tensor", "Scalar")))
    return tuple(getattr(getattr(aten, packet), form) for packet, each in packets for form in each)


_LOGIC_FORMS = ("Tensor", "Scalar", "Scalar_Tensor")
_SHIFT_FORMS = ("Tensor", "Tensor_Scalar", "Scalar_Tensor")


# --- and, or, exclusive or, not --------------------------------------------------------------------------------------
@FAMILY.converter(*_overloads("bitwise_and", "__and__", *_LOGIC_FORMS), conditions=_LOGIC)
def bitwise_and(ctx: ConverterContext, call: Call) -> Tensor:
    """The bits that both have."""
    left, right = ar.promoted(ctx, call, "self", "other")
    return ar.elementwise(ctx, "AND", left, right) if left.dtype == torch.bool else _common(ctx, call, left, right)


@FAMILY.converter(*_overloads("bitwise_or", "__or__", *_LOGIC_FORMS), conditions=_LOGIC)
def bitwise_or(ctx: ConverterContext, call: Call) -> Tensor:
    """The bits that either has: a, and what b has beyond."""
    left, right = ar.promoted(ctx, call, "self", "other")
    if left.dtype == torch.bool:
        return ar.elementwise(ctx, "OR", left, right)
    beyond = ar.elementwise(ctx, "SUB", right, _common(ctx, call, left, right), "beyond")
    return ar.elementwise(ctx, "SUM", left, beyond)


@FAMILY.converter(*_overloads("bitwise_xor", "__xor__", *_LOGIC_FORMS), conditions=_LOGIC)
def bitwise_xor(ctx: ConverterContext, call: Call) -> Tensor:
    """The bits that one alone has."""
    left, right = ar.promoted(ctx, call, "self", "other")
    if left.dtype == torch.bool:
        return ar.elementwise(ctx, "XOR", left, right)
    both = _common(ctx, call, left, right)
    first, second = (ar.elementwise(ctx, "SUB", part, both, "alone") for part in (left, right))
    return ar.elementwise(ctx, "SUM", first, second)


@FAMILY.converter(aten.bitwise_not.default, conditions=[dtype_of("self", (torch.bool, *_INTEGERS))])
def bitwise_not(ctx: ConverterContext, call: Call) -> Tensor:
    """The complement: of booleans the negation, of integers -1 - self."""
    x = ctx.tensor(call.arg("self"))
    if x.dtype == torch.bool:
        return ar.invert(ctx, x)
    return ar.elementwise(ctx, "SUB", ctx.scalar(-1, x.dtype, x.rank), x)


def _common(ctx: ConverterContext, call: Call, left: Tensor, right: Tensor) -> Tensor:
    """left & right of integers; a number on either side limits the work to its bits."""
    for name, x in (("other", left), ("self", right)):
        number = call.value(name)
        if isinstance(number, int):
            return _masked(ctx, x, number)
    width = torch.iinfo(left.dtype).bits
    first, second = (_bits(ctx, x, range(width)) for x in (left, right))
    return _composed(ctx, ar.elementwise(ctx, "PROD", first, second, "bits"), range(width))


def _masked(ctx: ConverterContext, x: Tensor, mask: int) -> Tensor:
    width = torch.iinfo(x.dtype).bits
    which = [bit for bit in range(width) if mask >> bit & 1]
    if len(which) == width:
        return x
    if not which:
        return ar.full_like(ctx, x, 0)
    if mask > 0 and mask & (mask + 1) == 0 and mask + 1 < 2 ** (width - 1):
        # All low bits: a remainder, without splitting x into bits.
        return ar.remainder(ctx, x, ctx.scalar(mask + 1, x.dtype, x.rank), sign_of_divisor=True)
    return _composed(ctx, _bits(ctx, x, which), which)


def _bits(ctx: ConverterContext, x: Tensor, which: Sequence[int]) -> Tensor:
    """Some bits of integers, 0 or 1, along a new last dimension."""
    shifted = _shifted_right(ctx, shapes.unsqueeze(ctx, x, -1, "column"), list(which))
    two = ctx.scalar(2, x.dtype, x.rank + 1)
    return ar.remainder(ctx, shifted, two, sign_of_divisor=True, role="bits")


def _composed(ctx: ConverterContext, bits: Tensor, which: Sequence[int]) -> Tensor:
    """The integers that have these bits along the last dimension."""
    weights = _row(ctx, [_power(bit, bits.dtype) for bit in which], bits)
    return ar.reduce(ctx, "SUM", ar.elementwise(ctx, "PROD", bits, weights, "weighted"), [-1])


def _power(exponent: int, dtype: torch.dtype) -> int:
    """2**exponent as the integer type wraps it: its highest bit is negative, further ones are lost."""
    width = torch.iinfo(dtype).bits
    if exponent >= width:
        return 0
    return 1 << exponent if exponent < width - 1 else -(1 << exponent)


def _row(ctx: ConverterContext, numbers: Sequence[int], like: Tensor) -> Tensor:
    """Numbers along the last dimension, in the dtype and rank of a tensor."""
    row = torch.tensor(numbers, dtype=like.dtype)
    return ctx.constant(row.reshape((1,) * (like.rank - 1) + (-1,)))


# --- shifts ----------------------------------------------------------------------------------------------------------
@FAMILY.converter(*_overloads("bitwise_left_shift", "__lshift__", *_SHIFT_FORMS), conditions=_SHIFT)
def left_shift(ctx: ConverterContext, call: Call) -> Tensor:
    """self * 2**other, wrapping; 0 if other is negative or not less than the width."""
    x, places = ar.promoted(ctx, call, "self", "other")
    width = torch.iinfo(x.dtype).bits
    number = call.value("other")
    if isinstance(number, int):
        factor = _power(number, x.dtype) if number >= 0 else 0
        return ar.elementwise(ctx, "PROD", x, ctx.scalar(factor, x.dtype, x.rank))
    powers = _table(ctx, [_power(bit, x.dtype) for bit in range(width + 1)], x.dtype)
    return ar.elementwise(ctx, "PROD", x, gathered(ctx, powers, _within(ctx, places, width), 0, "power"))


@FAMILY.converter(*_overloads("bitwise_right_shift", "__rshift__", *_SHIFT_FORMS), conditions=_SHIFT)
def right_shift(ctx: ConverterContext, call: Call) -> Tensor:
    """floor(self / 2**other); only the sign is left if other is negative or not less than the width."""
    x, places = ar.promoted(ctx, call, "self", "other")
    last = torch.iinfo(x.dtype).bits - 1
    number = call.value("other")
    if isinstance(number, int):
        return _shifted_right(ctx, x, [number if 0 <= number < last else last])
    index = _within(ctx, places, last)
    for step in _divisors(list(range(last + 1)), x.dtype):
        divisor = gathered(ctx, _table(ctx, step, x.dtype), index, 0, "power")
        x = ar.elementwise(ctx, "FLOOR_DIV", x, divisor, "shifted")
    return x


def _shifted_right(ctx: ConverterContext, x: Tensor, places: list[int]) -> Tensor:
    """floor(x / 2**places), the places along the last dimension."""
    for step in _divisors(places, x.dtype):
        divisor = ctx.scalar(step[0], x.dtype, x.rank) if len(step) == 1 else _row(ctx, step, x)
        x = ar.elementwise(ctx, "FLOOR_DIV", x, divisor, "shifted")
    return x


def _divisors(places: list[int], dtype: torch.dtype) -> list[list[int]]:
    """2**places as one or two factors: the highest power is no integer of the type."""
    top = torch.iinfo(dtype).bits - 2
    first = [2 ** min(place, top) for place in places]
    second = [2 ** (place - min(place, top)) for place in places]
    return [first, second] if any(factor > 1 for factor in second) else [first]


def _table(ctx: ConverterContext, numbers: Sequence[int], dtype: torch.dtype) -> Tensor:
    return ctx.constant(torch.tensor(numbers, dtype=dtype), "table")


def _within(ctx: ConverterContext, places: Tensor, last: int) -> Tensor:
    """Places outside 0 to `last` replaced by `last`."""
    negative = ar.compare(ctx, "LESS", places, 0, "negative")
    return ar.where(ctx, negative, last, ar.clamp(ctx, places, None, last, "place"), "place")
