"""Python's functions of numbers that `torch.export.save` does not know, written with those that it does."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import cast_symbool_to_symint_guardless

Emit = Callable[..., Any]
"""`emit(function, *arguments)` adds a call to a graph, and returns what stands for its result."""


def _floor(emit: Emit, x: Any) -> Any:
    whole = emit(math.trunc, x)
    return emit(torch.sym_ite, emit(operator.lt, x, whole), emit(operator.sub, whole, 1), whole)


def _ceil(emit: Emit, x: Any) -> Any:
    whole = emit(math.trunc, x)
    return emit(torch.sym_ite, emit(operator.gt, x, whole), emit(operator.add, whole, 1), whole)


def _absolute(emit: Emit, x: Any) -> Any:
    return emit(torch.sym_max, x, emit(operator.neg, x))


def _sum(emit: Emit, numbers: Sequence[Any]) -> Any:
    return functools.reduce(lambda left, right: emit(operator.add, left, right), numbers)


def _round(emit: Emit, x: Any, digits: None = None) -> Any:
    """To the nearest whole number; halves to the even one."""
    low = _floor(emit, x)
    rest = emit(operator.sub, x, low)
    odd = emit(operator.eq, emit(operator.mod, low, 2), 1)
    tie = emit(operator.and_, emit(operator.eq, rest, 0.5), odd)
    up = emit(operator.or_, emit(operator.gt, rest, 0.5), tie)
    return emit(torch.sym_ite, up, emit(operator.add, low, 1), low)


def _number(emit: Emit, truth: Any) -> Any:
    return emit(torch.sym_ite, truth, 1, 0)


WRITTEN_OUT: Mapping[Any, Callable[..., Any]] = MappingProxyType(
    {
        math.floor: _floor,
        math.ceil: _ceil,
        operator.abs: _absolute,
        round: _round,
        torch.sym_sum: _sum,
        cast_symbool_to_symint_guardless: _number,
    }
)
"""`(emit, *arguments)` adds calls that do what the function does, and returns the result."""
