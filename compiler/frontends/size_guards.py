"""Branches on sizes that torch.export took for the example, and that other declared sizes may not take."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.utils._sympy.value_ranges import bound_sympy

from ..errors import UserError
from ..ir.program import Program
from ..ir.symbols import finite

_TRIED = 1024
"""Sizes, or combinations of them, to try in a condition; of larger ranges, as many of the smallest and largest."""


def check_size_guards(program: Program) -> None:
    """Raise UserError if a condition on sizes that the graph relies on is false for some that the program declares.

    torch.export itself compares simple conditions with the ranges; what a remainder decides, say, it only writes down.
    """
    names = _names(program)
    for condition in _conditions(program.exported):
        symbols = sorted(condition.free_symbols, key=str)
        if not names.keys() >= set(symbols) or _always_holds(condition, program.exported.range_constraints):
            continue
        for sizes in _combinations(symbols, program.exported.range_constraints):
            if condition.xreplace({symbol: sympy.Integer(size) for symbol, size in sizes.items()}) != sympy.true:
                shown = condition.subs({symbol: sympy.Symbol(name) for symbol, name in names.items()})
                values = ", ".join(f"{names[symbol]} = {size}" for symbol, size in sizes.items())
                raise UserError(
                    f"the model does not do the same for all declared sizes: it was exported where {shown}, which is "
                    f"not so for {values}. Declare sizes that all take the same branch, and compile a model for each."
                )


def _conditions(exported: ExportedProgram) -> list[Any]:
    """The conditions on sizes under which the graph is what the model computes."""
    for node in exported.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        for size in value.shape if isinstance(value, torch.Tensor) else ():
            if isinstance(size, torch.SymInt):
                return list(dict.fromkeys(guard.expr for guard in size.node.shape_env.guards))
    return []


def _always_holds(condition: Any, limits: Mapping[Any, Any]) -> bool:
    ranges = {symbol: limits[symbol] for symbol in condition.free_symbols if symbol in limits}
    known = bound_sympy(condition, ranges)
    return bool(known.is_singleton() and known.lower)


def _names(program: Program) -> dict[sympy.Symbol, str]:
    """Where each symbol can be read, such as `x.shape[0]`."""
    found: dict[sympy.Symbol, str] = {}
    for node in program.user_inputs:
        value = node.meta.get("val")
        for dim, size in enumerate(value.shape if isinstance(value, torch.Tensor) else ()):
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                found.setdefault(size.node.expr, f"{node.name}.shape[{dim}]")
    return found


def _combinations(symbols: list[sympy.Symbol], limits: Mapping[Any, Any]) -> Iterator[dict[sympy.Symbol, int]]:
    each = max(2, int(_TRIED ** (1 / len(symbols))))
    for sizes in itertools.product(*(_sizes(limits.get(symbol), each) for symbol in symbols)):
        yield dict(zip(symbols, sizes, strict=True))


def _sizes(limits: Any, count: int) -> list[int]:
    low = 2 if limits is None else int(limits.lower)
    limit = None if limits is None else finite(limits.upper)
    high = low + count - 1 if limit is None else limit
    if high - low < count:
        return list(range(low, high + 1))
    half = count // 2
    return [*range(low, low + half), *range(high - half + 1, high + 1)]
