"""Least values of numbers that are known at run time only, where tracing derived them from sizes of at least 2."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from .symbols import expression, finite

_ASSERT = torch.ops.aten._assert_scalar.default
_TRACED = 2
"""The smallest size that torch.export assumes while tracing."""


def lower_least_values(exported: ExportedProgram, limits: dict[Any, Any]) -> None:
    """Let numbers be as small as the declared sizes allow, in place: in the graph's checks, and in `limits`.

    `torch.bincount(i, minlength=x.shape[0])` says that its result has a size of `x.shape[0]` or more, of which tracing
    makes two checks: that, and that the size is 2 or more, which does not hold for one row.

    Args:
        exported: its graph is changed.
        limits: the ranges of symbols, those of inputs as declared.
    """
    checks = [node.args[0] for node in exported.graph.find_nodes(op="call_function", target=_ASSERT)]
    pairs = [pair for check in checks if isinstance(check, Node) and (pair := _at_least(check)) is not None]
    for check, number, least in pairs:
        if not isinstance(least, int) or number not in limits:
            continue
        sizes = [other for _, name, other in pairs if name == number and isinstance(other, sympy.Expr)]
        lower = [_bound(size, limits) for size in sizes if _bound(size, _as_traced(limits)) == least]
        allowed = max((value for value in lower if value is not None), default=least)
        if allowed < least:
            check.args = (check.args[0], allowed)
            for user in list(check.users):
                user.args = (check, str(user.args[1]).replace(f">= {least}", f">= {allowed}"))
            limits[number] = ValueRanges(max(allowed, 0), limits[number].upper)


def _at_least(check: Node) -> tuple[Node, sympy.Symbol, Any] | None:
    """The number that a check says has a least value, and that value: a number, or an expression of sizes."""
    if check.target not in (operator.ge, operator.le):
        return None
    number, least = (_value(arg) for arg in (check.args if check.target is operator.ge else reversed(check.args)))
    if not isinstance(number, sympy.Symbol) or isinstance(least, int) == (check.target is operator.le):
        return None
    return check, number, least


def _value(argument: Any) -> Any:
    return expression(argument.meta.get("val")) if isinstance(argument, Node) else argument


def _as_traced(limits: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The ranges that torch.export assumed."""
    return {
        symbol: found if finite(found.upper) in (0, 1) else ValueRanges(max(found.lower, _TRACED), found.upper)
        for symbol, found in limits.items()
    }


def _bound(size: sympy.Expr, limits: Mapping[Any, Any]) -> int | None:
    if not size.free_symbols <= limits.keys():
        return None
    return finite(bound_sympy(size, dict(limits)).lower)
