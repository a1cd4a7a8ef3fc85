"""Let modules take tensors of any strides: exported graphs have views wherever those of the example allowed them."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch.fx import GraphModule

from ...ir.aliasing import mutates
from ...ir.program import copy_graph

_aten = torch.ops.aten
_ANY_STRIDES = MappingProxyType(
    {_aten.view.default: _aten.reshape.default, _aten._unsafe_view.default: _aten.reshape.default}
)

_READ_MEMORY = frozenset({_aten.as_strided.default, _aten.as_strided_copy.default, _aten.as_strided_scatter.default})


def take_any_strides(module: GraphModule) -> None:
    """Reshape, in place, what a module views: a view where the strides allow it, else a copy.

    Graphs that are arguments in its own, such as branches, are replaced by copies that reshape too.

    Inputs may have other strides than the example, as they may in the model, and results of engines are contiguous,
    whatever they were when the model was exported. Nothing writes to a view in a graph without mutation. They may be
    marked as conjugated, too, and then have no view as real numbers. What reads the memory behind a result reads it of
    a copy in order, which the pass `decompose` has made it count in.
    """
    writes = mutates(module.graph)
    for node in module.graph.nodes:
        if node.op == "call_function":
            node.target = _ANY_STRIDES.get(node.target, node.target)
        if node.target is _aten.view_as_real.default and node.args[0].op == "placeholder":
            with module.graph.inserting_before(node):
                resolved = module.graph.call_function(_aten.resolve_conj.default, (node.args[0],))
            resolved.meta = {key: value for key, value in node.args[0].meta.items() if key == "val"}
            node.args = (resolved,)
        if not writes and node.target in _READ_MEMORY and node.args[0].op != "placeholder":
            with module.graph.inserting_before(node):
                ordered = module.graph.call_function(
                    _aten.clone.default, (node.args[0],), {"memory_format": torch.contiguous_format}
                )
            ordered.meta = {key: value for key, value in node.args[0].meta.items() if key == "val"}
            node.args = (ordered, *node.args[1:])
    for name, body in list(module.named_children()):
        if isinstance(body, GraphModule):
            copy = GraphModule(body, copy_graph(body.graph))
            take_any_strides(copy)
            module.add_module(name, copy)
    module.recompile()
