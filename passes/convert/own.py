"""Converters that users write: a decorator, with conditions as data."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from ...compiler.ir.call import Call
from ...compiler.tensorrt.context import ConvertFunction
from ...compiler.tensorrt.plugins import overloads_of
from ...compiler.tensorrt.registry import Condition, Converter
from .conditions import dtype_of, rank_of, static_dims, value_is

Check = Callable[[Call], str | None]


def converter(
    *targets: Any,
    dtypes: Mapping[str, Sequence[torch.dtype]] | None = None,
    ranks: Mapping[str, tuple[int, int]] | None = None,
    static: Iterable[str] = (),
    values: Mapping[str, Sequence[Any]] | None = None,
    conditions: Iterable[Condition | Check] = (),
    composite: bool = True,
) -> Callable[[ConvertFunction], Converter]:
    """Make a converter of the decorated function `(ctx, call)`, for the option `converters`.

    What a call must meet to be converted is data: calls that do not stay in PyTorch, and the report says why.

    Args:
        targets: operators: `torch.ops.library.name` with an overload or without, what `torch.library.custom_op` made,
            or a name such as "library::name".
        dtypes: for arguments that are tensors, by name: the data types that they may have.
        ranks: likewise, the smallest and largest number of dimensions.
        static: names of arguments whose sizes must be known when the engine is built.
        values: for arguments that are numbers, texts and such, by name: the values that they may have.
        conditions: others: functions of the call that return None, or a sentence that says what is the case.
        composite: whether operators that PyTorch decomposes are kept whole, which needs no saying for a custom one.

    Raises:
        UserError: there is no such operator.
    """
    overloads = overloads_of(targets)
    rules: list[Condition] = []
    rules += [dtype_of(name, tuple(kinds)) for name, kinds in (dtypes or {}).items()]
    rules += [rank_of(name, low, high) for name, (low, high) in (ranks or {}).items()]
    rules += [static_dims(name, functools.partial(_dims, name), "all") for name in static]
    for name, allowed in (values or {}).items():
        rules.append(value_is(name, functools.partial(operator.contains, tuple(allowed)), f"one of {allowed!r}"))
    rules += [item if isinstance(item, Condition) else _condition(item) for item in conditions]
    return lambda function: Converter(overloads, function, tuple(rules), composite)


def _dims(name: str, call: Call) -> Sequence[int]:
    value = call.value(name)
    return range(value.dim()) if isinstance(value, torch.Tensor) else ()


def _condition(check: Check) -> Condition:
    words = (check.__doc__ or check.__name__.replace("_", " ")).strip().splitlines()[0].rstrip(".")
    return Condition("TP205", words, check)
