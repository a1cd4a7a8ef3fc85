"""The range of every symbol of a program: declared, exported, or found in the values of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sympy
import torch

from .found_sizes import found_limits, is_data_dependent
from .input import profile_count
from .program import Program
from .symbols import NO_LIMIT, UNBOUNDED_FACTOR, Range, example_size, expression, finite


def symbol_ranges(program: Program) -> Mapping[sympy.Symbol, Range]:
    """The range of every symbol of the program: as declared by `Program.inputs`, else as exported.

    A size of an input without upper bound gets `UNBOUNDED_FACTOR` times its usual value. What depends on the values of
    tensors is bounded by what it is found in (see `found_sizes`), or not at all: by `NO_LIMIT`.
    """
    ranges: dict[sympy.Symbol, Range] = {}
    declared = list(program.inputs) if len(program.inputs) == len(program.user_inputs) else []
    for index, node in enumerate(program.user_inputs):
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            continue
        for dim, size in enumerate(value.shape):
            symbol = expression(size)
            if not isinstance(symbol, sympy.Symbol) or symbol in ranges:
                continue
            if declared:
                item = declared[index]
                ranges[symbol] = item.min_shape[dim], item.opt_shape[dim], item.max_shape[dim]
            else:
                ranges[symbol] = _exported_range(program, symbol, size)
    # A size such as 2*s0 that was declared has limits of its own there, which follow from those of s0.
    others = [s for s in program.exported.range_constraints if isinstance(s, sympy.Symbol) and s not in ranges]
    ranges |= {s: _exported_range(program, s, None) for s in others if not is_data_dependent(s)}
    limits = found_limits(program, ranges)
    dependent = [symbol for symbol in others if is_data_dependent(symbol) and symbol.is_integer]
    return ranges | {symbol: _dependent_range(program, symbol, limits.get(symbol)) for symbol in dependent}


def profile_ranges(program: Program) -> tuple[Mapping[sympy.Symbol, Range], ...]:
    """The range of every symbol in each optimization profile that the inputs declare; see `symbol_ranges`, of all."""
    count = profile_count(program.inputs)
    if count == 1:
        return (symbol_ranges(program),)
    inputs = (tuple(item.profile(number) for item in program.inputs) for number in range(count))
    return tuple(symbol_ranges(replace(program, inputs=items)) for items in inputs)


def _dependent_range(program: Program, symbol: sympy.Symbol, limit: int | None) -> Range:
    bounds = program.exported.range_constraints[symbol]
    low, high = finite(bounds.lower), finite(bounds.upper)
    high = min((item for item in (high, limit) if item is not None), default=NO_LIMIT)
    low = -NO_LIMIT if low is None else min(low, high)
    return low, high if high < NO_LIMIT else max(low, 1), high


def unbounded_symbols(program: Program) -> Mapping[sympy.Symbol, str]:
    """The symbols whose upper limit nobody declared, each with the input dimension that shows it ("x, dimension 0")."""
    if len(program.inputs) == len(program.user_inputs):
        return {}
    found: dict[sympy.Symbol, str] = {}
    for node in program.user_inputs:
        value = node.meta.get("val")
        for dim, size in enumerate(value.shape if isinstance(value, torch.Tensor) else ()):
            symbol = expression(size)
            bounds = program.exported.range_constraints.get(symbol)
            if isinstance(symbol, sympy.Symbol) and (bounds is None or finite(bounds.upper) is None):
                found.setdefault(symbol, f"{node.name}, dimension {dim}")
    return found


def _exported_range(program: Program, symbol: sympy.Symbol, size: Any) -> Range:
    bounds = program.exported.range_constraints.get(symbol)
    low = finite(bounds.lower) if bounds is not None else None
    high = finite(bounds.upper) if bounds is not None else None
    hint = example_size(size)
    low = 0 if low is None else max(low, 0)
    usual = max(hint if hint is not None else (low if high is None else (low + high) // 2), low, 1)
    if high is None:
        high = UNBOUNDED_FACTOR * usual
    return min(low, high), min(usual, high), high
