"""Sizes that a program makes of its constants: `x[:, : buffer.max().item()]`, and what is computed with such a size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sympy
import torch
from torch.fx import Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from ...compiler.ir.expanded_call import NotExpandable, sizes_stay_open
from ...compiler.ir.graph import fake_value_of
from ...compiler.ir.program import Program, is_symbolic
from .constant_numbers import ITEM, symbols_in, write_numbers
from .values import is_pure, same_sizes

Number = int | float | bool


def write_sizes(program: Program, known: Mapping[Node, Any]) -> bool:
    """Write whole numbers read of `known` values into the program, also where they are sizes; whether any was.

    All that has such a size is traced again with the number. Where that cannot be done, as inside of branches, or the
    number is an output, the program stays as it is.
    """
    items = [node for node in program.graph.nodes if node.target is ITEM and node.args[0] in known]
    items = [node for node in items if isinstance(node.meta["val"], torch.SymInt)]
    # All at once, since one size may be made of several; or else those with which it can be done.
    if not items or _written(program, items, known):
        return bool(items)
    done = [_written(program, [item], known) for item in items] if len(items) > 1 else []
    return any(done)


def _written(program: Program, items: Sequence[Node], known: Mapping[Node, Any]) -> bool:
    symbols = {symbol for node in items for symbol in symbols_in(node.meta["val"])}
    try:
        # What is learnt of other symbols meanwhile would be known from now on, whatever becomes of this.
        with sizes_stay_open(program.graph):
            read = {node: known[node.all_input_nodes[0]].item() for node in items}
            numbers, values = _traced_again(program, read, symbols)
    except NotExpandable:
        return False
    gone = symbols | {symbol for node in values for symbol in symbols_in(node.meta["val"])}
    for node, value in values.items():
        node.meta["val"] = value
    write_numbers(program, numbers)
    kept = {
        symbol for node in program.graph.nodes if node not in numbers for symbol in symbols_in(node.meta.get("val"))
    }
    for symbol in gone - kept:
        program.exported.range_constraints.pop(symbol, None)
    return True


def _traced_again(
    program: Program, numbers: dict[Node, Number], symbols: set[sympy.Symbol]
) -> tuple[dict[Node, Number], dict[Node, Any]]:
    """The nodes that yield numbers, and the new values of those that do not, if the symbols are numbers.

    Raises:
        NotExpandable: they cannot be.
    """
    values: dict[Node, Any] = {}
    for node in program.graph.nodes:
        if node in numbers:
            continue
        concerned = bool(symbols_in(node.meta.get("val")) & symbols)
        reads = any(source in numbers or source in values for source in node.all_input_nodes)
        if node.op == "output":
            if any(source in numbers for source in node.all_input_nodes):
                raise NotExpandable("a number is an output")
        elif concerned or (reads and node.meta.get("val") is not None):
            value = _new_value(node, numbers, values)
            if symbols_in(value) & symbols:
                raise NotExpandable(f"{node} has a symbol still")
            if isinstance(value, Number):
                numbers[node] = value
            elif concerned or not _is_same(value, node.meta["val"]):
                values[node] = value
    return numbers, values


def _new_value(node: Node, numbers: Mapping[Node, Number], values: Mapping[Node, Any]) -> Any:
    if not is_pure(node) or not (is_symbolic(node) or _is_operator(node)):
        raise NotExpandable(f"{node} is not computed with numbers alone")
    args, kwargs = map_arg((node.args, node.kwargs), lambda source: _value(source, numbers, values))
    try:
        value = fake_value_of(node, args, kwargs)
    except Exception as error:
        raise NotExpandable(f"{node} raises") from error  # what it cannot be traced with is left to the model's calls
    if symbols_in(value) - symbols_in((args, kwargs)):
        raise NotExpandable(f"the size of {node} depends on values, and would get another symbol")
    return value


def _value(source: Node, numbers: Mapping[Node, Number], values: Mapping[Node, Any]) -> Any:
    return numbers[source] if source in numbers else values.get(source, source.meta["val"])


def _is_operator(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) or "getitem" in getattr(node.target, "__name__", "")


def _is_same(value: Any, before: Any) -> bool:
    """Whether a value that was traced again is as it was, so that what reads it is not concerned."""
    leaves, old = pytree.tree_leaves(value), pytree.tree_leaves(before)
    return len(leaves) == len(old) and all(
        isinstance(new, torch.Tensor)
        and isinstance(was, torch.Tensor)
        and new.dtype == was.dtype
        and same_sizes(new.shape, was.shape)
        and same_sizes(new.stride(), was.stride())
        for new, was in zip(leaves, old, strict=True)
    )
