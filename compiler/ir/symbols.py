"""Symbolic sizes: their sympy expressions, and the tensors whose shapes they can be read from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sympy
import torch
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

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


def same_size(left: int | torch.SymInt, right: int | torch.SymInt) -> bool:
    """Whether two sizes of fake tensors are equal for all values of their symbols (as far as sympy can tell).

    PyTorch's `statically_known_true` takes its guards for facts. They hold for the sizes that a model was exported
    with: a guard of PyTorch's own, such as on the elements of a tensor, need not hold for all sizes of a range.
    """
    return same(expression(left), expression(right))


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
    # The bounds of a quotient are infinite where its divisor may be zero.
    low = max(finite(bounds.lower) or 0, 0)
    known = finite(bounds.upper)
    high = NO_LIMIT if known is None else known
    return low, min(max(int(usual), low), high), high
