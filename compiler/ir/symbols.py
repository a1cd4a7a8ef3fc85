"""Symbolic sizes: their sympy expressions, the tensors whose shapes they can be read from, and their ranges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import sympy
import torch
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

if TYPE_CHECKING:
    from .program import Program

Dim: TypeAlias = int | Any
"""A size: a number, or a sympy expression over the program's symbols (sympy has no types of its own)."""

Range = tuple[int, int, int]
"""Smallest, usual and largest value of a size."""

UNBOUNDED_FACTOR = 16
"""A size without upper bound may grow to this many times its usual value in an engine."""


NO_LIMIT = 2**31 - 1
"""Where the range of a symbol ends that has no limit: no dimension of a tensor in TensorRT is larger."""


class UnderivableSize(ValueError):
    """A symbol cannot be computed from the shapes of the tensors at hand; `symbol` names it."""

    def __init__(self, symbol: sympy.Symbol) -> None:
        self.symbol = symbol
        super().__init__(f"the size {symbol} cannot be computed from the shapes of the engine's inputs")


def expression(value: Any) -> Any:
    """A Python number as it is; a SymInt, SymFloat or SymBool as sympy expression, or number where it is constant."""
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        value = value.node.expr
    if isinstance(value, sympy.Integer):
        return int(value)
    if isinstance(value, sympy.Float):
        return float(value)
    if value is sympy.true or value is sympy.false:
        return bool(value)
    return value


def dims_of(shape: Iterable[Any]) -> tuple[Dim, ...]:
    """The sizes of a shape (of numbers and SymInts) as numbers and expressions."""
    return tuple(expression(size) for size in shape)


def is_static(shape: Iterable[Dim]) -> bool:
    """Whether all sizes are numbers."""
    return all(isinstance(size, int) for size in shape)


def same(left: Dim, right: Dim) -> bool:
    """Whether two sizes are equal for all values of their symbols (as far as sympy can tell)."""
    if isinstance(left, int) and isinstance(right, int):
        return left == right
    return bool(left == right) or bool(sympy.expand(left - right) == 0)


def product(dims: Iterable[Dim]) -> Dim:
    """The product of sizes."""
    result: Any = 1
    for dim in dims:
        result = result * dim
    return simplified(result)


def simplified(dim: Any) -> Dim:
    """A size as a number where it is one."""
    return int(dim) if isinstance(dim, int | sympy.Integer) else dim


def at_least(dim: Dim, least: int, ranges: Mapping[sympy.Symbol, Range]) -> bool:
    """Whether a size, or a difference of sizes, is `least` or more for all values that its symbols may have.

    False also where that cannot be told: what sympy assumes of symbols is no fact, the ranges are.
    """
    if isinstance(dim, int):
        return dim >= least
    if not dim.free_symbols <= ranges.keys():
        return False
    known = {symbol: ValueRanges(ranges[symbol][0], ranges[symbol][2]) for symbol in dim.free_symbols}
    return bool(bound_sympy(dim, known).lower >= least)


def counted_from_start(place: Dim, size: Dim, ranges: Mapping[sympy.Symbol, Range]) -> Dim:
    """A place in a dimension of some size, or one behind its end, where a negative one counts from the end."""
    if at_least(place, 0, ranges):
        return place
    from_end = simplified(sympy.sympify(place + size))
    if at_least(-place, 1, ranges):
        return from_end
    from torch.utils._sympy.functions import Where

    return Where(sympy.Lt(place, 0), from_end, place)


@dataclass(frozen=True)
class SizeSource:
    """How to compute a symbol: `formula` over other symbols and `size`, which is dimension `dim` of `tensor`."""

    tensor: str
    dim: int
    size: sympy.Symbol
    formula: sympy.Expr


def symbol_sources(shapes: Mapping[str, Sequence[Dim]]) -> Mapping[sympy.Symbol, SizeSource]:
    """The symbols that can be computed from the shapes of some tensors, each with a way to do so.

    A symbol that is itself a size is read directly; from a size that is linear in one unknown symbol, such as
    `2*s0 + s1` with s1 known, that symbol is solved for.
    """
    sources: dict[sympy.Symbol, SizeSource] = {}
    entries = [(name, dim, size) for name, shape in shapes.items() for dim, size in enumerate(shape)]
    symbolic: list[tuple[str, int, Any]] = [entry for entry in entries if not isinstance(entry[2], int)]
    # Direct reads first: they cost nothing.
    symbolic.sort(key=lambda entry: not isinstance(entry[2], sympy.Symbol))
    progress = True
    while progress:
        progress = False
        for name, dim, size in symbolic:
            unknown = [symbol for symbol in size.free_symbols if symbol not in sources]
            if len(unknown) == 1:
                source = _solved(name, dim, size, unknown[0])
                if source is not None:
                    sources[unknown[0]] = source
                    progress = True
    return sources


def _solved(name: str, dim: int, size: sympy.Expr, symbol: sympy.Symbol) -> SizeSource | None:
    variable = sympy.Symbol(f"{name}.shape[{dim}]", integer=True, positive=True)
    if size == symbol:
        return SizeSource(name, dim, variable, variable)
    if not size.is_polynomial(symbol) or sympy.degree(size, symbol) != 1:
        return None
    factor = sympy.expand(size).coeff(symbol, 1)
    rest = sympy.expand(size).coeff(symbol, 0)
    if not factor.is_nonzero:
        return None
    from torch.utils._sympy.functions import FloorDiv

    return SizeSource(name, dim, variable, FloorDiv(variable - rest, factor))


# --- ranges ----------------------------------------------------------------------------------------------------------
def symbol_ranges(program: Program) -> Mapping[sympy.Symbol, Range]:
    """The range of every symbol of the program: as declared by `Program.inputs`, else as exported.

    A size of an input without upper bound gets `UNBOUNDED_FACTOR` times its usual value. What depends on the values of
    tensors is bounded by what it is found in (see `found_sizes`), or not at all: by `NO_LIMIT`.
    """
    from .found_sizes import found_limits, is_data_dependent

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


def finite(bound: Any) -> int | None:
    """A limit of a size as a number; None if there is none."""
    if bound in (int_oo, -int_oo, sympy.oo, -sympy.oo) or abs(int(bound)) >= 2**31:
        return None
    return int(bound)


def example_size(size: Any) -> int | None:
    """A size (a number or SymInt) as it was in the example inputs; None if that is not known."""
    if isinstance(size, torch.SymInt):
        return int(size.node.hint) if size.node.has_hint() else None
    return size if isinstance(size, int) else None


def dim_range(dim: Dim, ranges: Mapping[sympy.Symbol, Range]) -> Range:
    """Smallest, usual and largest value of a size, given the ranges of its symbols.

    Raises:
        UnderivableSize: a symbol has no range.
    """
    if isinstance(dim, int):
        return dim, dim, dim
    for symbol in dim.free_symbols:
        if symbol not in ranges:
            raise UnderivableSize(symbol)
    intervals = {
        symbol: ValueRanges(low, high) for symbol, (low, _, high) in ranges.items() if symbol in dim.free_symbols
    }
    bounds = bound_sympy(dim, intervals)
    usual = dim.xreplace({symbol: sympy.Integer(middle) for symbol, (_, middle, _) in ranges.items()})
    low, high = max(int(bounds.lower), 0), int(bounds.upper)
    return low, min(max(int(usual), low), high), high
