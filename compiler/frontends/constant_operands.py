"""Whole numbers among the operands of conditionals and loops that never vary: torch.export takes none there."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch.fx import GraphModule, Node


def with_numbers_inside(module: GraphModule, numbers: Mapping[str, int]) -> GraphModule:
    """The graph with constant numbers in branches and bodies, instead of among what these are given.

    Dynamo makes an operand of every size that a branch is defined beside, also of one that it finds out to be a
    constant later.

    Args:
        module: a graph of dynamo's, which is left as it is.
        numbers: inputs of the graph that are constants, by name.
    """
    calls = [node for node in module.graph.nodes if _constants(node, numbers)]
    if not calls:
        return module
    # Only graphs are changed, and the modules of the branches; weights stay the model's.
    twin = GraphModule(module, copy.deepcopy(module.graph), type(module).__name__)
    nodes = {node.name: node for node in twin.graph.nodes}
    for original in calls:
        node = nodes[original.name]
        constants = _constants(node, numbers)
        operands = _operands(node)
        assert operands is not None
        behind = len(node.args[2]) if node.target is _LOOP else 0
        for source in [arg for arg in node.args if isinstance(arg, Node) and arg.op == "get_attr"]:
            body = attrgetter(str(source.target))(twin)
            with twin.graph.inserting_before(source):
                other = twin.graph.get_attr(_added(twin, _inside(body, {behind + i: n for i, n in constants.items()})))
            node.replace_input_with(source, other)
        node.args = (*node.args[:3], tuple(item for i, item in enumerate(operands) if i not in constants))
    twin.graph.eliminate_dead_code()
    twin.recompile()
    return twin


_LOOP = torch.ops.higher_order.while_loop
_TAKEN_LAST = (torch.ops.higher_order.cond, _LOOP)
"""Operators that take the operands of their graphs, other than what a loop carries, as the fourth argument."""


def _operands(node: Node) -> Sequence[Any] | None:
    if node.target not in _TAKEN_LAST or len(node.args) < 4:
        return None
    operands: Any = node.args[3]
    return operands if isinstance(operands, list | tuple) else None


def _constants(node: Node, numbers: Mapping[str, int]) -> dict[int, int]:
    """The numbers among the operands of a node, by position."""
    found = {}
    for index, item in enumerate(_operands(node) or ()):
        if isinstance(item, Node) and item.op == "placeholder" and item.name in numbers:
            found[index] = numbers[item.name]
        elif type(item) is int:
            found[index] = item
    return found


def _inside(body: GraphModule, numbers: Mapping[int, int]) -> GraphModule:
    """A graph with numbers in place of its inputs at these positions."""
    twin = GraphModule(body, copy.deepcopy(body.graph), type(body).__name__)
    placeholders = twin.graph.find_nodes(op="placeholder")
    for index, number in numbers.items():
        placeholders[index].replace_all_uses_with(number)
        twin.graph.erase_node(placeholders[index])
    twin.recompile()
    return twin


def _added(module: GraphModule, body: GraphModule) -> str:
    count = 0
    while hasattr(module, name := f"with_numbers_{count}"):
        count += 1
    module.add_module(name, body)
    return name
