"""Let graphs take tensors of any strides: exported ones have views wherever the strides of the example allowed them."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch.fx import Graph, GraphModule

_aten = torch.ops.aten
_ANY_STRIDES = MappingProxyType(
    {_aten.view.default: _aten.reshape.default, _aten._unsafe_view.default: _aten.reshape.default}
)


def reshape_for_views(graph: Graph) -> None:
    """Reshape, in place, what a graph views: a view where the strides allow it, else a copy.

    Inputs may have other strides than the example, as they may in the model, and results of engines are contiguous,
    whatever they were when the model was exported. Nothing writes to a view in a graph without mutation.
    """
    for node in graph.nodes:
        if node.op == "call_function":
            node.target = _ANY_STRIDES.get(node.target, node.target)


def with_any_strides(module: GraphModule) -> GraphModule:
    """A copy of a module, and of the graphs that are arguments in it, that takes tensors of any strides."""
    graph = Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    reshape_for_views(graph)
    copy = GraphModule(module, graph)
    for name, body in module.named_children():
        if isinstance(body, GraphModule):
            copy.add_module(name, with_any_strides(body))
    return copy
