"""Conditions that several converters share, as data; see `registry.Condition`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from ...compiler.ir.call import Call
from ...compiler.ir.dtypes import short_name
from ...compiler.ir.program import is_getitem
from ...compiler.ir.symbols import UNBOUNDED_FACTOR
from ...compiler.tensorrt.registry import Condition

FLOATS = (torch.float32, torch.float16, torch.bfloat16)

MAX_SIZE = 2**31 - 1
"""The largest size of a dimension in TensorRT."""

MAX_WORK = 2**26
"""The most elements of an intermediate tensor that pairs everything with everything.

TensorRT-RTX fuses it with the reduction that follows; where it is not fused, it takes 256 MiB in f32.
"""


def rank_of(argument: str, low: int, high: int) -> Condition:
    """The rank of a tensor argument lies between `low` and `high`."""

    def check(call: Call) -> str | None:
        value = call.value(argument)
        if value is None or low <= value.dim() <= high:
            return None
        return f"{call.op}: {argument} has rank {value.dim()}, but it must be {_range(low, high)}"

    return Condition("TP202", f"`{argument}` has rank {_range(low, high)}", check)


def dtype_of(argument: str, dtypes: Sequence[torch.dtype]) -> Condition:
    """The data type of a tensor argument is one of `dtypes`."""
    names = ", ".join(short_name(dtype) for dtype in dtypes)

    def check(call: Call) -> str | None:
        value = call.value(argument)
        if not isinstance(value, torch.Tensor) or value.dtype in dtypes:
            return None
        return f"{call.op}: {argument} has data type {short_name(value.dtype)}, but it must be one of {names}"

    return Condition("TP201", f"`{argument}` has one of the data types {names}", check)


def static_dims(argument: str, dims: Callable[[Call], Sequence[int]], which: str) -> Condition:
    """Some dimensions of a tensor argument are static; `which` names them in words."""

    def check(call: Call) -> str | None:
        value = call.value(argument)
        dynamic = [dim for dim in dims(call) if value.dim() and not isinstance(value.shape[dim], int)]
        if not dynamic:
            return None
        shape = ",".join(str(size) for size in value.shape)
        return f"{call.op}: dimension {dynamic[0]} of {argument} [{shape}] is dynamic, but {which} must be static"

    return Condition("TP203", f"{which} of `{argument}` must be static", check)


def static_value(argument: str) -> Condition:
    """An argument is a Python value: no tensor, no size computed at run time."""

    def check(call: Call) -> str | None:
        value = call.value(argument)
        items = value if isinstance(value, list | tuple) else [value]
        if not any(isinstance(item, torch.Tensor | torch.SymInt | torch.SymFloat | torch.SymBool) for item in items):
            return None
        return f"{call.op}: {argument} is {value}, which is known only at run time"

    return Condition("TP206", f"`{argument}` is known when the engine is built", check)


def only_results(last: int, what: str) -> Condition:
    """No result behind number `last` is used; `what` names those results in words."""

    def check(call: Call) -> str | None:
        picked = used_results(call)
        if all(index <= last for index in picked):
            return None
        return f"{call.op}: {what} (result {max(picked)}) is used, but TensorRT's layer does not compute it"

    return Condition("TP205", f"{what} must not be used", check)


def used_results(call: Call) -> frozenset[int]:
    """The numbers of those results of a call that something reads."""
    return frozenset(int(str(user.args[1])) for user in call.node.users if is_getitem(user) and user.users)


def value_is(argument: str, allowed: Callable[[Any], bool], what: str, code: str = "TP205") -> Condition:
    """The value of an argument satisfies `allowed`; `what` says in words what is allowed."""

    def check(call: Call) -> str | None:
        value = call.value(argument)
        return None if allowed(value) else f"{call.op}: {argument} is {value!r}, but it must be {what}"

    return Condition(code, f"`{argument}` must be {what}", check)


def never(code: str, doc: str, message: str) -> Condition:
    """An operator that no converter can take; `message` says why, with `{op}` for its name."""
    return Condition(code, doc, lambda call: message.format(op=call.op))


def limited_work(what: str, sizes: Callable[[Call], Sequence[Any]]) -> Condition:
    """The product of some sizes, each at its largest, is at most `MAX_WORK`; `what` names the product in words."""

    def check(call: Call) -> str | None:
        factors = [largest(size) for size in sizes(call)]
        work = math.prod(factors)
        if work <= MAX_WORK:
            return None
        text = " x ".join(map(str, factors))
        return f"{call.op}: {what} is {text} = {work} elements, but at most {MAX_WORK} are computed"

    return Condition("TP205", f"{what} is at most {MAX_WORK} elements", check)


def largest(size: int | torch.SymInt) -> int:
    """The greatest value of a size; without a declared bound, `UNBOUNDED_FACTOR` times its value when exported."""
    bound = upper_bound(size)
    if bound < MAX_SIZE or isinstance(size, int) or not size.node.has_hint():
        return bound
    return UNBOUNDED_FACTOR * int(size.node.hint)


def upper_bound(size: int | torch.SymInt) -> int:
    """What a size never exceeds: its declared bound, at most `MAX_SIZE`."""
    if isinstance(size, int):
        return size
    upper = size.node.shape_env.bound_sympy(size.node.expr).upper
    return MAX_SIZE if upper == int_oo else min(int(upper), MAX_SIZE)


def smallest(size: int | torch.SymInt) -> int:
    """What a size is never less than; 1 where torch.export says 2, which it assumes of everything that varies."""
    if isinstance(size, int):
        return size
    expr, known = size.node.expr, size.node.shape_env.var_to_range
    ranges = {symbol: known[symbol] for symbol in expr.free_symbols}
    assumed = {symbol: ValueRanges(1, limits.upper) for symbol, limits in ranges.items() if limits.lower == 2}
    return int(bound_sympy(expr, {**ranges, **assumed}).lower)


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"
