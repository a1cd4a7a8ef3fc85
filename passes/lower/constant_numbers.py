"""Numbers that a program makes of its constants: `buffer.item()`, and what is computed of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import sympy
import torch
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree
from torch.utils._sympy.symbol import SymT, symbol_is_type

from ...compiler.ir.program import Program, is_symbolic
from .values import is_pure

ITEM = torch.ops.aten._local_scalar_dense.default
_CHECKS = frozenset(
    {
        torch.ops.aten._assert_scalar.default,
        torch.ops.aten.sym_constrain_range.default,
        torch.ops.aten.sym_constrain_range_for_size.default,
    }
)
"""What holds of a number, said by torch.export for the sake of its symbol."""


def constant_numbers(graph: Graph, known: Mapping[Node, Any]) -> dict[Node, int | float | bool]:
    """The nodes that yield a number made of `known` values only, each with its number.

    Not those whose symbol is a size of a tensor, or part of a number that is not constant: they would have to be traced
    again (`constant_sizes`). Nor numbers that are infinite or NaN, which have no literals, and outputs of the program.
    """
    items = {node for node in graph.nodes if node.target is ITEM and node.args[0] in known}
    while items:
        found = _numbers(graph, known, items)
        kept = _symbols_of(node for node in graph.nodes if node not in found)
        inexact = {node for node, number in found.items() if not math.isfinite(number)}
        returned = {node for node in found if any(user.op == "output" for user in node.users)}
        kept |= _symbols_of(inexact | returned)
        left = {item for item in items if item in found and not free_unbacked_symbols(item.meta["val"]) & kept}
        if left == items:
            return found
        items = left
    return {}


def write_numbers(program: Program, numbers: Mapping[Node, int | float | bool]) -> None:
    """Write numbers into the nodes that read them, in place; checks that they pass and ranges of symbols go."""
    graph = program.graph
    for symbol in _symbols_of(numbers):
        program.exported.range_constraints.pop(symbol, None)
    for node in list(graph.nodes):
        if node in numbers or not any(source in numbers for source in node.all_input_nodes):
            continue
        node.args, node.kwargs = map_arg((node.args, node.kwargs), lambda source: numbers.get(source, source))
        if node.target in _CHECKS and _holds(node):
            graph.erase_node(node)
    # A fraction that torch.export knew to be one number left its range behind, which PyTorch cannot save.
    limits, used = program.exported.range_constraints, _symbols_of(graph.nodes)
    for symbol in list(limits):
        if symbol.is_Symbol and symbol_is_type(symbol, SymT.UNBACKED_FLOAT) and symbol not in used:
            del limits[symbol]


def _holds(check: Node) -> bool:
    try:
        check.target(*check.args, **check.kwargs)  # type: ignore[operator]
    except Exception:
        return False  # it raises for every call, where the model does
    return True


def _numbers(graph: Graph, known: Mapping[Node, Any], items: set[Node]) -> dict[Node, int | float | bool]:
    found: dict[Node, int | float | bool] = {}
    for node in graph.nodes:
        if node in items:
            found[node] = known[node.args[0]].item()
        elif _is_arithmetic(node) and all(source in found for source in node.all_input_nodes):
            number = _computed(node, found)
            if number is not None:
                found[node] = number
    return found


def _is_arithmetic(node: Node) -> bool:
    return is_symbolic(node) and is_pure(node) and node.target is not ITEM and bool(node.all_input_nodes)


def _computed(node: Node, numbers: Mapping[Node, Any]) -> int | float | bool | None:
    args, kwargs = map_arg((node.args, node.kwargs), lambda source: numbers[source])
    try:
        number = node.target(*args, **kwargs)  # type: ignore[operator]
    except Exception:
        return None  # such as a division by zero, which the model is to raise when it is called
    return number if isinstance(number, int | float | bool) else None


def _symbols_of(nodes: Iterable[Node]) -> set[sympy.Symbol]:
    return {symbol for node in nodes for symbol in symbols_in(node.meta.get("val"))}


def symbols_in(value: Any) -> set[sympy.Symbol]:
    """The symbols of numbers that are known at run time only, in a value of a node."""
    return {
        symbol
        for leaf in pytree.tree_leaves(value)
        if isinstance(leaf, torch.Tensor | torch.SymInt | torch.SymFloat | torch.SymBool)
        for symbol in free_unbacked_symbols(leaf)
    }
