"""Views that one operator returns together, such as those of `unbind`, made one by one."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from .call import Call
from .program import Program, copy_graph, is_getitem, rebuild

aten = torch.ops.aten


def with_single_views(exported: ExportedProgram) -> ExportedProgram:
    """The program, from torch.export, with `select` and `slice` in place of `unbind`, `split` and `chunk`.

    PyTorch makes such views anew after a write to one of them, and for those that come together it reads the sizes as
    numbers: the program would be for these alone, or PyTorch 2.15 lets the last of `chunk` end after the tensor does.
    """
    if not any(map(_returns_views, exported.graph.nodes)):
        return exported
    single = rebuild(exported, copy_graph(exported.graph))
    graph = Program(single).graph
    for node in list(filter(_returns_views, graph.nodes)):
        for pick in [user for user in node.users if is_getitem(user)]:
            _replace(graph, node, pick)
        if not node.users:
            graph.erase_node(node)
    return single


def _returns_views(node: Node) -> bool:
    return node.target in (aten.unbind.int, aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default)


def _replace(graph: Graph, node: Node, pick: Node) -> None:
    call, place = Call(node), int(str(pick.args[1]))
    source, dim = node.args[0], call.arg("dim")
    with graph.inserting_before(pick):
        if node.target is aten.unbind.int:
            view = graph.call_function(aten.select.int, (source, dim, place))
        else:
            start, end = _borders(graph, node, place)
            view = graph.call_function(aten.slice.Tensor, (source, dim, start, end))
    view.meta = dict(pick.meta)
    pick.replace_all_uses_with(view)
    graph.erase_node(pick)


def _borders(graph: Graph, node: Node, place: int) -> tuple[Any, Any]:
    """Where a part begins and ends, in numbers or nodes; None for the end of the last one."""
    size: Any = _chunk_size(graph, Call(node)) if node.target is aten.chunk.default else node.args[1]
    last = place == len(node.meta["val"]) - 1
    if node.target is not aten.split_with_sizes.default:
        start, end = (_sum(graph, [size] * count) for count in (place, place + 1))
    else:
        start, end = (_sum(graph, size[:count]) for count in (place, place + 1))
    return start, None if last else end


def _chunk_size(graph: Graph, call: Call) -> Any:
    """What all but the last of the chunks have: the size divided by their number, rounded up."""
    source, dim, count = call.node.args[0], call.arg("dim"), call.arg("chunks")
    size = _value(source).shape[dim]
    if not isinstance(size, torch.SymInt):
        return -(-size // count)
    node = graph.call_function(aten.sym_size.int, (source, dim))
    node.meta["val"] = size
    whole = _added(graph, node, count - 1)
    part = graph.call_function(operator.floordiv, (whole, count))
    part.meta["val"] = _value(whole) // count
    return part


def _sum(graph: Graph, sizes: Sequence[Any]) -> Any:
    return functools.reduce(functools.partial(_added, graph), sizes, 0)


def _added(graph: Graph, one: Any, other: Any) -> Any:
    if not isinstance(one, Node) and not isinstance(other, Node):
        return one + other
    if one == 0:
        return other
    added = graph.call_function(operator.add, (one, other))
    added.meta["val"] = _value(one) + _value(other)
    return added


def _value(size: Any) -> Any:
    return size.meta["val"] if isinstance(size, Node) else size
