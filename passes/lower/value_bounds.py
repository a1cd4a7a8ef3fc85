"""Between which numbers the elements of integer tensors are, whatever the inputs: a check that says so is no check."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import sympy
import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from ...compiler.ir.symbols import Dim, Range, at_least, dims_of, expression, product, simplified
from .values import tensor_of

aten = torch.ops.aten


@dataclass(frozen=True)
class Bounds:
    """The smallest and the largest number that an element may be: numbers, or expressions of sizes."""

    low: Dim
    high: Dim


def holds_for_all_values(condition: Node, ranges: Mapping[sympy.Symbol, Range]) -> bool:
    """Whether a comparison of a number of a tensor with another number, or a size, is true for all inputs.

    `ranges` are those of the symbols in sizes.
    """
    if condition.target not in _COMPARISONS or len(condition.args) != 2:
        return False
    left, right = (_of_number(each, ranges) for each in condition.args)
    if left is None or right is None:
        return False
    above, below = left.low - right.high, right.low - left.high
    above_by, below_by = _COMPARISONS[condition.target]
    return _at_least(above, above_by, ranges) and _at_least(below, below_by, ranges)


_COMPARISONS: Mapping[Any, tuple[int | None, int | None]] = MappingProxyType(
    {
        operator.ge: (0, None),
        operator.gt: (1, None),
        operator.le: (None, 0),
        operator.lt: (None, 1),
        operator.eq: (0, 0),
    }
)
"""By how much the smallest number on the left is above the largest on the right at least, and the largest below it."""


def _at_least(number: Dim, least: int | None, ranges: Mapping[sympy.Symbol, Range]) -> bool:
    return least is None or at_least(simplified(sympy.sympify(number)), least, ranges)


def _of_number(number: Any, ranges: Mapping[sympy.Symbol, Range]) -> Bounds | None:
    """The bounds of a number of Python's: a literal, a size, one read from a tensor, or a sum of such."""
    if isinstance(number, Node) and number.target is aten._local_scalar_dense.default:
        return _bounds(number.args[0], ranges)
    if isinstance(number, Node) and number.target in (operator.add, operator.sub):
        left, right = (_of_number(each, ranges) for each in number.args)
        if left is None or right is None:
            return None
        if number.target is operator.add:
            return Bounds(left.low + right.low, left.high + right.high)
        return Bounds(left.low - right.high, left.high - right.low)
    value = number.meta.get("val") if isinstance(number, Node) else number
    if isinstance(value, bool) or not isinstance(value, int | torch.SymInt) or free_unbacked_symbols(value):
        return None
    if isinstance(number, Node) and (isinstance(value, int) or _is_read(number)):
        return None  # what a check holds it to, as torch.export writes it
    return Bounds(expression(value), expression(value))


def _is_read(number: Node) -> bool:
    """Whether a number is computed from one that is read from a tensor."""
    if number.target is aten._local_scalar_dense.default:
        return True
    return any(tensor_of(each) is None and _is_read(each) for each in number.all_input_nodes)


def _bounds(node: Any, ranges: Mapping[sympy.Symbol, Range]) -> Bounds | None:
    """The bounds of the elements of a node's tensor; None if they are not known, or it has none."""
    tensor = tensor_of(node)
    if tensor is None or tensor.is_floating_point() or tensor.is_complex():
        return None
    if tensor.dtype is torch.bool:
        return Bounds(0, 1)
    rule = _RULES.get(node.target)
    found = rule(node, ranges) if rule is not None else None
    limits = torch.iinfo(tensor.dtype)
    if found is None:
        return Bounds(limits.min, limits.max) if limits.bits <= 8 else None
    fits = _at_least(limits.max - found.high, 0, ranges) and _at_least(found.low - limits.min, 0, ranges)
    return found if fits else None


def _of_first(node: Node, ranges: Mapping[sympy.Symbol, Range]) -> Bounds | None:
    return _bounds(node.args[0], ranges)


def _of_sum(node: Node, ranges: Mapping[sympy.Symbol, Range]) -> Bounds | None:
    each = _bounds(node.args[0], ranges)
    if each is None or not (isinstance(each.low, int) and isinstance(each.high, int)):
        return None
    count = _reduced(node)
    return Bounds(count * min(each.low, 0), count * max(each.high, 0))


def _of_count(node: Node, _: Mapping[sympy.Symbol, Range]) -> Bounds | None:
    return Bounds(0, _reduced(node))


def _of_places(node: Node, _: Mapping[sympy.Symbol, Range]) -> Bounds | None:
    return Bounds(0, _reduced(node) - 1)


def _of_remainder(node: Node, _: Mapping[sympy.Symbol, Range]) -> Bounds | None:
    divisor = node.args[1]
    return Bounds(0, divisor - 1) if isinstance(divisor, int) and divisor > 0 else None


def _of_clamp(node: Node, ranges: Mapping[sympy.Symbol, Range]) -> Bounds | None:
    """Of numbers that are known, or held between two of them."""
    low, high = (*node.args[1:], None, None)[:2]
    low, high = node.kwargs.get("min", low), node.kwargs.get("max", high)
    if not all(each is None or isinstance(each, int) for each in (low, high)):
        return None
    given = _bounds(node.args[0], ranges)
    if given is not None and not (isinstance(given.low, int) and isinstance(given.high, int)):
        given = None
    if given is None:
        return Bounds(low, high) if low is not None and high is not None and low <= high else None  # type: ignore[operator]

    def clamped(number: Any) -> Any:
        number = number if low is None else max(number, low)
        return number if high is None else min(number, high)

    return Bounds(clamped(given.low), clamped(given.high))


def _of_item(node: Node, ranges: Mapping[sympy.Symbol, Range]) -> Bounds | None:
    """Of one of several results: the values of `max` along a dimension, and places."""
    several, index = node.args
    if not isinstance(several, Node):
        return None
    if several.target in _SORTED and index == 0:
        return _bounds(several.args[0], ranges)
    return _of_places(several, ranges) if several.target in _SORTED else None


def _reduced(node: Node) -> Dim:
    """How many elements of its argument an operator makes one of."""
    given = tensor_of(node.args[0])
    assert given is not None
    sizes = dims_of(given.shape)
    position = 2 if node.target is aten.topk.default else 1
    dims: Any = node.kwargs.get("dim", node.args[position] if len(node.args) > position else _whole(node))
    if dims is None or dims == [] or not sizes:
        return product(sizes)
    return product(sizes[dim] for dim in (dims if isinstance(dims, list | tuple) else (dims,)))


def _whole(node: Node) -> int | None:
    return -1 if node.target in _SORTED or node.target is aten.argsort.default else None


_SORTED = frozenset({aten.max.dim, aten.min.dim, aten.sort.default, aten.topk.default})
"""What gives values of its argument, and their places."""

_RULES: Mapping[Any, Callable[[Node, Mapping[sympy.Symbol, Range]], Bounds | None]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *(aten.max.default, aten.min.default, aten.amax.default, aten.amin.default, aten._to_copy.default),
                *(aten.clone.default, aten.view.default, aten.reshape.default, aten.expand.default),
                *(aten.permute.default, aten.transpose.int, aten.unsqueeze.default, aten.squeeze.default),
                *(aten.squeeze.dim, aten.squeeze.dims, aten.select.int, aten.slice.Tensor, aten.gather.default),
                *(aten.index.Tensor, aten.index_select.default, aten.flip.default),
            ),
            _of_first,
        ),
        aten.sum.default: _of_sum,
        aten.sum.dim_IntList: _of_sum,
        aten.count_nonzero.default: _of_count,
        aten.count_nonzero.dim_IntList: _of_count,
        aten.argmax.default: _of_places,
        aten.argmin.default: _of_places,
        aten.argsort.default: _of_places,
        aten.remainder.Scalar: _of_remainder,
        aten.clamp.default: _of_clamp,
        operator.getitem: _of_item,
    }
)
