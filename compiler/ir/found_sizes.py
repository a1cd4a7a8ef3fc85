"""How large sizes get that depend on the values of tensors: no more can be found than are looked at."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch.utils._sympy.symbol import SymT, symbol_is_type

from .call import Call
from .symbols import Dim, Range, UnderivableSize, dim_range, dims_of, expression, product

if TYPE_CHECKING:
    from .program import Program

aten = torch.ops.aten

Limit = tuple[Dim, Any]
"""A size in a result, and what it never exceeds."""


def found_limits(program: Program, ranges: Mapping[sympy.Symbol, Range]) -> dict[sympy.Symbol, int]:
    """The largest value of the data-dependent sizes that have one, given the ranges of the program's other symbols."""
    known, found = dict(ranges), dict[sympy.Symbol, int]()
    for node in program.op_nodes:
        for size, limit in _RULES.get(node.target, _no_limits)(Call(node)):
            if not isinstance(size, sympy.Symbol) or not is_data_dependent(size):
                continue
            try:
                high = dim_range(limit, known)[2]
            except UnderivableSize:
                continue
            found[size] = min(high, found.get(size, high))
            known[size] = 0, found[size], found[size]
    return found


def is_data_dependent(symbol: sympy.Symbol) -> bool:
    """Whether a symbol stands for a number that depends on the values of tensors."""
    return bool(symbol_is_type(symbol, (SymT.UNBACKED_INT, SymT.UNBACKED_FLOAT)))


def _no_limits(call: Call) -> Iterator[Limit]:
    return iter(())


def _of_nonzero(call: Call) -> Iterator[Limit]:
    yield expression(call.out.shape[0]), _elements(call.value("self"))


def _of_masked_select(call: Call) -> Iterator[Limit]:
    pairs = itertools.zip_longest(
        *(reversed(dims_of(call.value(name).shape)) for name in ("self", "mask")), fillvalue=1
    )
    yield expression(call.out.shape[0]), product(sympy.Max(*pair) for pair in pairs)


def _of_index(call: Call) -> Iterator[Limit]:
    masks = [item for item in call.value("indices") if item is not None and item.dtype in (torch.bool, torch.uint8)]
    # Of several, each finds as many as the others, or a single one.
    for size in call.out.shape if masks else ():
        yield expression(size), sympy.Max(*(_elements(mask) for mask in masks))


def _of_unique(call: Call) -> Iterator[Limit]:
    x, dim = call.value("self"), call.args.get("dim")
    yield expression(call.out[0].shape[dim or 0]), _elements(x) if dim is None else expression(x.shape[dim])


def _of_slice(call: Call) -> Iterator[Limit]:
    dim = call.value("dim")
    yield expression(call.out.shape[dim]), expression(call.value("self").shape[dim])


def _elements(x: torch.Tensor) -> Dim:
    return product(dims_of(x.shape))


_RULES: Mapping[Any, Callable[[Call], Iterator[Limit]]] = MappingProxyType(
    {
        aten.nonzero.default: _of_nonzero,
        aten.masked_select.default: _of_masked_select,
        aten.index.Tensor: _of_index,
        aten._unique2.default: _of_unique,
        aten.unique_consecutive.default: _of_unique,
        aten.unique_dim.default: _of_unique,
        aten.slice.Tensor: _of_slice,
        aten.narrow.default: _of_slice,
    }
)
