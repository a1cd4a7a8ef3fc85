"""Numbers that a graph finds in the values of tensors, and what holds of them whatever the values are."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from ...compiler.ir.program import is_symbolic
from .values import tensor_of

aten = torch.ops.aten


def found_in_values(graph: Graph) -> set[Node]:
    """The nodes that yield a number read from a tensor, or a size that depends on one, or are computed from such.

    It is told by the graph and not by the symbols of the numbers: where a check says that a number is 1, torch.export
    writes 1 for it, in that check too.
    """
    numbers: set[Node] = set()
    sized: set[Node] = set()  # tensors that may have such a size
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        sources = node.all_input_nodes
        if is_symbolic(node):
            if node.target is aten._local_scalar_dense.default or any(
                source in numbers or source in sized for source in sources
            ):
                numbers.add(node)
        elif _finds_its_size(node) or any(source in sized or source in numbers for source in sources):
            sized.add(node)
    return numbers


def holds_by_itself(condition: Node) -> bool:
    """Whether a condition is what torch.export says of every size of a result: at least 0, at most all elements."""
    if len(condition.args) != 2 or not isinstance(condition.args[0], Node):
        return False
    size: Any = condition.args[0]
    bound = condition.args[1]
    if size.target is not aten.sym_size.int or not isinstance(bound, int):
        return False
    if condition.target is operator.ge:
        return bound <= 0
    producer = size.args[0]
    if condition.target is not operator.le or not isinstance(producer, Node):
        return False
    return any(bool(statically_known_true(math.prod(each.shape) <= bound)) for each in _searched(producer))


def _searched(producer: Node) -> list[torch.Tensor]:
    """The tensors that have an element for each one that an operator finds; none where it may find more."""
    if producer.target is aten.nonzero.default:
        return [each for each in map(tensor_of, producer.args[:1]) if each is not None]
    if producer.target is aten.index.Tensor:
        indices: Any = producer.args[1]
        given = [each for each in map(tensor_of, indices) if each is not None]
        # Masks beside each other find as many as the one that finds least.
        return [each for each in given if each.dtype in (torch.bool, torch.uint8)]
    return []


def _finds_its_size(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.dynamic_output_shape in node.target.tags
