"""Which values share memory: what decides whether a copy in the graph can be left out."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import torch
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree


def is_view(node: Node) -> bool:
    """Whether the node's result may share memory with its first argument."""
    if node.op != "call_function" or not node.all_input_nodes:
        return False
    if node.target is operator.getitem:
        return is_view(node.all_input_nodes[0])
    if not isinstance(node.target, torch._ops.OpOverload):
        return True
    returns = node.target._schema.returns
    return any(result.alias_info is not None for result in returns) or node.target in _MAY_RETURN_INPUT


_MAY_RETURN_INPUT = frozenset(
    {
        torch.ops.aten.reshape.default,
        torch.ops.aten.contiguous.default,
        torch.ops.aten._unsafe_view.default,
        torch.ops.aten.dropout.default,
        torch.ops.aten.to.dtype,
        torch.ops.aten.to.device,
        torch.ops.aten.to.other,
        torch.ops.aten.to.dtype_layout,
    }
)


def memory_of(node: Node) -> Node:
    """The node that allocated the memory that `node` reads, as far as views can tell."""
    while is_view(node):
        node = node.all_input_nodes[0]
    return node


def reaches_output(node: Node) -> bool:
    """Whether the caller of the program gets memory of this node: it, or a view of it, is an output."""
    return any(user.op == "output" or (is_view(user) and reaches_output(user)) for user in node.users)


def mutates(graph: Graph) -> bool:
    """Whether any operator of the graph writes to one of its arguments."""
    return any(
        isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable for node in graph.nodes
    )


def may_share(copy: Node, source: Node) -> bool:
    """Whether reading `source` in place of its `copy` can go unnoticed by the caller.

    It would be noticed if the caller got memory of an input, of a buffer that the program updates, or of another
    output where it used to get memory of its own.
    """
    if not reaches_output(copy):
        return True
    owner = memory_of(source)
    return owner.op != "placeholder" and not reaches_output(owner)


def written_by(node: Node) -> Iterator[Node]:
    """The nodes whose tensors an operator call writes to."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return
    schema = node.target._schema
    if not schema.is_mutable:
        return
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = node.args[position] if position < len(node.args) else node.kwargs.get(argument.name)
            yield from (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Node))


def written_tensors(graph: Graph) -> tuple[list[str], list[int]]:
    """What a graph writes to, itself or a view of it: names of attributes, and positions of placeholders."""
    places = {node: index for index, node in enumerate(graph.find_nodes(op="placeholder"))}
    written = dict.fromkeys(memory_of(target) for node in graph.nodes for target in written_by(node))
    names = [str(node.target) for node in written if node.op == "get_attr"]
    return names, [places[node] for node in written if node in places]


def counting(graph: Graph) -> set[Node]:
    """The nodes on which results, what is written to inputs and to the model's state, or assertions depend."""
    writers = [(node, memory_of(target)) for node in graph.nodes for target in written_by(node)]
    written = {node for node, _ in writers}
    waiting = [node for node in graph.nodes if node.op == "output" or (node.is_impure() and node not in written)]
    waiting += [node for node, owner in writers if owner.op in ("placeholder", "get_attr")]
    found, owners = set[Node](), set[Node]()
    while waiting:
        node = waiting.pop()
        if node in found:
            continue
        found.add(node)
        waiting += node.all_input_nodes
        owner = memory_of(node)
        if owner not in owners:
            owners.add(owner)
            waiting += [writer for writer, other in writers if other is owner]
    return found
