"""Sizes that a trace keeps in tensors, as the numbers that they are.

`torch.jit.trace` writes `x.size(0) * 2` as arithmetic on tensors of one element, out of which numbers are taken again.
As tensors, a graph would not know them for sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from .code import Op
from .packed import number_in
from .values import VALUES, is_on_container, tensor_of


@dataclass(frozen=True, eq=False)
class InTensor:
    """A whole number, or the quotient of two, in a tensor without dimensions.

    Attributes:
        value: the number.
        divisor: None for a whole number.
        is_float: whether the tensor's type is float32.
    """

    value: Any
    divisor: Any = None
    is_float: bool = False

    def tensor(self) -> torch.Tensor:
        """The tensor."""
        value = tensor_of(self.value, None, None)
        if self.divisor is not None:
            return value / tensor_of(self.divisor, None, None)
        return value.to(torch.float32) if self.is_float else value

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole number in a tensor of whole numbers."""
        return self.divisor is None and not self.is_float


def holds_numbers(values: Sequence[Any]) -> bool:
    """Whether a value, or one in a list, is such a number."""
    inner = (item for value in values if isinstance(value, list | tuple) for item in value)
    return any(isinstance(value, InTensor) for value in (*values, *inner))


def on_numbers(op: Op, values: Sequence[Any]) -> tuple[Any, ...] | None:
    """What an operator makes of such numbers, in a tuple; None if it has to be given tensors."""
    if op.kind in _READ and isinstance(values[0], InTensor):
        return _READ[op.kind](values[0])
    function = _ARITHMETIC.get(op.kind)
    numbers = [_whole(value) for value in values]
    if function is None or None in numbers[:2] or not isinstance(values[0], InTensor | torch.Tensor):
        return None
    return function(*numbers[:2], *values[2:])


def as_tensors(op: Op, values: Sequence[Any]) -> list[Any]:
    """The values of an operator, with tensors in the place of such numbers; containers are built of what they hold."""
    if op.kind.startswith("prim::") or is_on_container(op.kind, values):
        return list(values)
    return [plain(value) for value in values]


def plain(value: Any) -> Any:
    """A value with tensors in the place of such numbers."""
    if isinstance(value, InTensor):
        return value.tensor()
    if isinstance(value, list | tuple) and any(isinstance(item, InTensor) for item in value):
        return type(value)(map(plain, value))
    return value


def _whole(value: Any) -> Any:
    """A whole number, or that in a constant of a trace; None if it is no such number."""
    if isinstance(value, InTensor):
        return value.value if value.is_whole else None
    if type(value) is torch.Tensor and value.dim() == 0 and value.dtype == torch.int64:
        return number_in(value)
    whole = isinstance(value, int | torch.SymInt) and not isinstance(value, bool)
    return value if whole else None


def _int(number: InTensor) -> tuple[Any, ...] | None:
    if number.divisor is None:
        return (number.value,)
    return (number.value // number.divisor,)  # sizes: neither is below 0


def _number(number: InTensor) -> tuple[Any, ...] | None:
    return (number.value,) if number.is_whole else None


def _floor(number: InTensor) -> tuple[Any, ...] | None:
    return None if number.divisor is None else (InTensor(number.value // number.divisor, is_float=True),)


def _divided(first: Any, second: Any, rounding: str | None = None) -> tuple[Any, ...]:
    if rounding is None:
        return (InTensor(first, second, is_float=True),)
    return (InTensor(first // second),)  # sizes, of which both roundings are the same


_READ: Mapping[str, Callable[[InTensor], tuple[Any, ...] | None]] = MappingProxyType(
    {
        "aten::Int": _int,
        "aten::IntImplicit": _int,
        "aten::ScalarImplicit": _number,
        "aten::item": _number,
        "aten::floor": _floor,
        "aten::Bool": lambda number: (number.value != 0,) if number.is_whole else None,
        "aten::detach": lambda number: (number,),
        "aten::clone": lambda number: (number,),
    }
)

_ARITHMETIC: Mapping[str, Callable[..., tuple[Any, ...]]] = MappingProxyType(
    {
        "aten::add": lambda a, b, alpha=1: (InTensor(a + b * alpha),),
        "aten::sub": lambda a, b, alpha=1: (InTensor(a - b * alpha),),
        "aten::rsub": lambda a, b, alpha=1: (InTensor(b - a * alpha),),
        "aten::mul": lambda a, b: (InTensor(a * b),),
        "aten::floor_divide": lambda a, b: (InTensor(a // b),),
        "aten::div": _divided,
        "aten::remainder": lambda a, b: (InTensor(a % b),),
        "aten::maximum": lambda a, b: (InTensor(VALUES["prim::max"](a, b)),),
        "aten::minimum": lambda a, b: (InTensor(VALUES["prim::min"](a, b)),),
    }
)
