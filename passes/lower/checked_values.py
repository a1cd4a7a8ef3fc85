"""Numbers that a graph finds in the values of tensors, and what holds of them whatever the values are."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from ...compiler.ir.decisions import is_decision
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
            if _reads_a_value(node) or any(source in numbers or source in sized for source in sources):
                numbers.add(node)
        elif _finds_its_size(node) or any(source in sized or source in numbers for source in sources):
            sized.add(node)
    return numbers


def _reads_a_value(node: Node) -> bool:
    """Whether a node reads a number of a tensor that is not a size, as `torch.jit.trace` writes sizes into tensors."""
    if node.target is not aten._local_scalar_dense.default:
        return False
    return not _is_made_of_sizes(node.all_input_nodes[0])


def _is_made_of_sizes(node: Node) -> bool:
    """Whether a tensor has one number, which is computed of sizes alone."""
    value = tensor_of(node)
    if node.target is aten.scalar_tensor.default:
        return True
    if node.op != "call_function" or value is None or value.dim() or not node.all_input_nodes:
        return False
    return all(map(_is_made_of_sizes, node.all_input_nodes))


def of_decided_numbers(graph: Graph) -> set[Node]:
    """What is computed of one number that a decision of the model holds to a value: the decision is check enough."""
    conditions = [node.args[0] for node in graph.nodes if is_decision(node)]
    numbers = [each.args[0] for each in conditions if isinstance(each, Node) and each.target is operator.eq]
    return {
        user
        for number in numbers
        if isinstance(number, Node)
        for user in number.users
        if user.all_input_nodes == [number]
    }


def asks_for_any(condition: Node) -> bool:
    """Whether a condition says that something was found, as reductions that have no result for nothing ask.

    An engine that holds both operators cannot raise between them.
    """
    size, least = condition.args if len(condition.args) == 2 else (None, None)
    if not isinstance(size, Node) or size.target is not aten.sym_size.int:
        return False
    return (condition.target, least) in ((operator.ge, 1), (operator.gt, 0))


def holds_by_itself(condition: Node) -> bool:
    """Whether a condition is what torch.export says of every size of a result: at least 0, at most all elements.

    Where a result begins in memory is no matter of the compiled program's.
    """
    if len(condition.args) != 2 or not isinstance(condition.args[0], Node):
        return False
    size: Any = condition.args[0]
    bound = condition.args[1]
    if size.target is aten.sym_storage_offset.default:
        return True
    if size.target is not aten.sym_size.int or not isinstance(bound, int):
        return False
    if condition.target is operator.ge:
        return bound <= 0
    producer = size.args[0]
    if condition.target is not operator.le or not isinstance(producer, Node):
        return False
    return any(bool(statically_known_true(math.prod(shape) <= bound)) for shape in _searched(producer))


def _searched(producer: Node) -> list[torch.Size]:
    """Shapes of as many elements as an operator finds at most; none where it may find more than it is given."""
    if producer.target is operator.getitem and isinstance(producer.args[0], Node):
        producer = producer.args[0]
    if producer.target in (aten.nonzero.default, aten._unique2.default):
        return [each.shape for each in map(tensor_of, producer.args[:1]) if each is not None]
    if producer.target is aten.masked_select.default:
        given = [each.shape for each in map(tensor_of, producer.args) if each is not None]
        return [torch.broadcast_shapes(*given)]  # type: ignore[no-untyped-call]
    if producer.target is aten.slice.Tensor:
        sliced, dim = tensor_of(producer.args[0]), producer.args[1] if len(producer.args) > 1 else 0
        return [] if sliced is None else [sliced.shape[dim : dim + 1 or None]]  # type: ignore[operator]
    if producer.target is aten.index.Tensor:
        indices: Any = producer.args[1]
        masks = [each for each in map(tensor_of, indices) if each is not None]
        # Masks beside each other find as many as the one that finds least.
        return [each.shape for each in masks if each.dtype in (torch.bool, torch.uint8)]
    return []


def _finds_its_size(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.dynamic_output_shape in node.target.tags
