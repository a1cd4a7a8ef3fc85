"""Branches on sizes that torch.export took for the example, and that other declared sizes may not take."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from ..errors import UserError
from ..ir.program import Program
from ..ir.symbols import expression, finite
from .guard_texts import conditions_in_texts
from .quiet import quiet_trial
from .size_decisions import advice_on_number, line_of_guard, makes_a_number
from .size_trial import GraphDiffers, GraphTrial

_LOG = logging.getLogger("trt_passes")
_TRIALS = 64
"""Sizes to try a graph at, where a condition does not hold for them."""

_TRIAL_SECONDS = 8.0
"""How long more of them may be tried than those."""

_TRIED = 1024
"""Sizes, or combinations of them, to try in a condition; of larger ranges, as many of the smallest and largest."""


def check_size_guards(program: Program, trial: GraphTrial | None = None) -> None:
    """Raise UserError if the graph is not what the model does for some of the sizes that the program declares.

    torch.export itself compares simple conditions with the ranges; what a remainder decides, say, it only writes down.
    And it assumes that what varies is never 0 or 1. Where a condition does not hold, a trial tells whether it matters.
    """
    names = _names(program)
    without_model = type(trial) is GraphTrial
    started = time.monotonic()
    for tried, (sizes, (condition, line)) in enumerate(_in_turns(_doubtful(program, names))):
        late = tried >= _TRIALS and (without_model or time.monotonic() - started > _TRIAL_SECONDS)
        if without_model and late:
            break  # of each condition some were tried, and the graph did what it says
        shown = ", ".join(f"{names[symbol]} = {size}" for symbol, size in sizes)
        # Without a model to compare with, shapes tell whether such an assumption matters.
        implied = condition is None or (without_model and _is_assumed(condition))
        problem = _problem(None if late else trial, dict(sizes), implied)
        if problem is None:
            continue
        if condition is not None:
            text = condition.subs({symbol: sympy.Symbol(name) for symbol, name in names.items()})
            place = f" ({line})" if line else ""
            untried = f", and after {tried} other sizes there was no time to try these" if late else ""
            problem = f"it was exported where {text}{place}, which is not so for {shown}{problem}{untried}"
        else:
            problem = f"for {shown}{problem}"
        raise UserError(
            f"the model does not do the same for all declared sizes: {problem}. {_advice(condition, line)}."
        )


def _advice(condition: Any, line: str | None) -> str:
    """What to do: a line such as `torch.ones(len(x))` needs one size only, others take a branch for some."""
    if isinstance(condition, sympy.Eq) and makes_a_number(line):
        return advice_on_number(line)
    return "Declare sizes that all take the same branch, and compile a model for each"


def _problem(trial: GraphTrial | None, sizes: Mapping[sympy.Symbol, int], implied: bool) -> str | None:
    """Why the graph may not be used for sizes, as the end of a sentence; None if it may."""
    try:
        if trial is not None:
            with quiet_trial():
                trial.check(sizes, by_results=implied)
            return None
    except GraphDiffers as difference:
        return f": {difference}"
    except Exception as error:
        _LOG.debug("a size could not be tried: %r", error)
    if not implied:
        return ""
    return None if trial is None else _problem_of_graph(trial, sizes)


def _problem_of_graph(trial: GraphTrial, sizes: Mapping[sympy.Symbol, int]) -> str | None:
    """Likewise where the model cannot be run without its values, as one that reads a number: what shapes tell."""
    try:
        with quiet_trial():
            GraphTrial(trial.exported, trial.usual).check(sizes, by_results=True)
    except GraphDiffers as difference:
        return f": {difference}"
    except Exception as error:
        _LOG.debug("nor the graph: %r", error)
    return None


def _in_turns(doubtful: Mapping[Any, tuple[Any, str | None]]) -> Iterator[tuple[Any, tuple[Any, str | None]]]:
    """All of them, the first of each condition first."""
    groups: dict[Any, list[Any]] = {}
    for item in doubtful.items():
        groups.setdefault(item[1], []).append(item)
    return (item for turn in itertools.zip_longest(*groups.values()) for item in turn if item is not None)


def _is_assumed(condition: Any) -> bool:
    """Whether a condition says that a computed size is not another one, or not 0 or 1: torch.export assumes these."""
    if not isinstance(condition, sympy.core.relational.Relational):
        return False
    relation = condition.reversed if condition.lhs.is_number else condition
    size, limit = relation.args
    if isinstance(relation, sympy.Ne):
        return not (size.is_Symbol and (limit.is_Symbol or limit.is_number))
    return not size.is_Symbol and limit in {sympy.Gt: (0, 1), sympy.Ge: (1, 2)}.get(relation.func, ())


def _doubtful(
    program: Program, names: Mapping[sympy.Symbol, str]
) -> dict[tuple[tuple[sympy.Symbol, int], ...], tuple[Any, str | None]]:
    """Sizes that a condition of the graph does not hold for, with the condition and the user's line.

    There is no condition (None) where it is that nothing is of size 0 or 1.
    """
    found: dict[tuple[tuple[sympy.Symbol, int], ...], tuple[Any, str | None]] = {}
    limits = _limits(program)
    for condition, line in _conditions(program.exported).items():
        symbols = sorted(condition.free_symbols, key=str)
        if not names.keys() >= set(symbols) or _always_holds(condition, limits):
            continue
        for sizes in _combinations(symbols, limits):
            if not _holds(condition, sizes):
                found.setdefault(tuple(sizes.items()), (condition, line))
    for small in (0, 1):
        able = [s for s in names if s in limits and limits[s].lower <= small <= limits[s].upper != limits[s].lower]
        for group in [*([symbol] for symbol in able), *([able] if len(able) > 1 else [])]:
            found.setdefault(tuple((symbol, small) for symbol in group), (None, None))
    return found


def _holds(condition: Any, sizes: Mapping[sympy.Symbol, int]) -> bool:
    try:
        return bool(condition.xreplace({symbol: sympy.Integer(size) for symbol, size in sizes.items()}) == sympy.true)
    except ZeroDivisionError:
        return False


def _limits(program: Program) -> Mapping[Any, Any]:
    """The ranges of symbols: those that inputs declare, of an exported program narrower than its own."""
    limits = dict(program.exported.range_constraints)
    for node, item in zip(program.user_inputs, program.inputs, strict=False):
        value = node.meta.get("val")
        for dim, size in enumerate(value.shape if isinstance(value, torch.Tensor) else ()):
            symbol = expression(size)
            if isinstance(symbol, sympy.Symbol) and symbol in limits:
                limits[symbol] &= ValueRanges(item.min_shape[dim], item.max_shape[dim])
    return limits


def _conditions(exported: ExportedProgram) -> dict[Any, str | None]:
    """The conditions on sizes under which the graph is what the model computes, each with the user's line."""
    for node in exported.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        for size in value.shape if isinstance(value, torch.Tensor) else ():
            if isinstance(size, torch.SymInt):
                guards = reversed(size.node.shape_env.guards)
                found = dict(reversed({guard.expr: line_of_guard(guard) for guard in guards}.items()))
                # A program that was read from a file has them as texts.
                return found or dict.fromkeys(conditions_in_texts(exported))
    return {}


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
