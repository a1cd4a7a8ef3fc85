"""Simple lowering passes on graphs of aten operators, which `post_lowering` applies; `compile` has its own."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node

from .lowering_passes import clean_up_graph_after_modifications

aten = torch.ops.aten

_CHECKS = (
    *(aten._assert_async.msg, aten._assert_async.default, aten._assert_scalar.default),
    *(aten._assert_tensor_metadata.default, aten.sym_constrain_range.default),
    aten.sym_constrain_range_for_size.default,
)


def remove_detach(gm: GraphModule, settings: Any = None) -> GraphModule:
    """Give what is detached from its gradients on as it is: engines have no gradients."""
    for node in gm.graph.find_nodes(op="call_function", target=aten.detach.default):
        node.replace_all_uses_with(node.args[0])
        gm.graph.erase_node(node)
    return clean_up_graph_after_modifications(gm)


def remove_assert_nodes(gm: GraphModule, settings: Any = None) -> GraphModule:
    """Remove checks of values and sizes, which give nothing."""
    for target in _CHECKS:
        for node in gm.graph.find_nodes(op="call_function", target=target):
            gm.graph.erase_node(node)
    for node in gm.graph.find_nodes(op="call_module", target="_guards_fn"):  # what torch.export checks of a call
        gm.graph.erase_node(node)
    return clean_up_graph_after_modifications(gm)


def remove_num_users_is_0_nodes(gm: GraphModule, settings: Any = None) -> GraphModule:
    """Remove what nothing reads."""
    return clean_up_graph_after_modifications(gm)


def repair_input_as_output(gm: GraphModule, settings: Any = None) -> GraphModule:
    """Give inputs that are returned as copies."""
    output = gm.graph.output_node()
    for node in gm.graph.find_nodes(op="placeholder"):
        if output in node.users and isinstance(node.meta.get("val", torch.empty(0)), torch.Tensor):
            with gm.graph.inserting_before(output):
                copy = gm.graph.call_function(aten.clone.default, (node,))
            copy.meta = dict(node.meta)
            output.replace_input_with(node, copy)
    return clean_up_graph_after_modifications(gm)


def constant_fold(gm: GraphModule, settings: Any = None) -> GraphModule:
    """Compute what depends on weights alone, and keep it as a buffer `_frozen_param…`."""
    known: dict[Node, Any] = {}
    for node in gm.graph.nodes:
        if node.op == "get_attr":
            known[node] = _attribute(gm, str(node.target))
        elif _folds(node) and all(item in known for item in node.all_input_nodes):
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
            with torch.no_grad():
                known[node] = node.target(*args, **kwargs)
    number = 0
    for node, value in known.items():
        outside = any(user not in known for user in node.users)
        if node.op == "call_function" and outside and isinstance(value, torch.Tensor):
            while hasattr(gm, f"_frozen_param{number}"):
                number += 1
            gm.register_buffer(f"_frozen_param{number}", value)
            with gm.graph.inserting_before(node):
                weight = gm.graph.get_attr(f"_frozen_param{number}")
            weight.meta = dict(node.meta)
            node.replace_all_uses_with(weight)
    gm = clean_up_graph_after_modifications(gm)
    gm.delete_all_unused_submodules()
    return gm


def _folds(node: Node) -> bool:
    if node.op != "call_function" or not node.all_input_nodes:
        return False
    if node.target is operator.getitem:
        return True
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target._schema.is_mutable:
        return False
    return torch.Tag.nondeterministic_seeded not in target.tags


def _attribute(gm: GraphModule, name: str) -> Any:
    owner, _, leaf = name.rpartition(".")
    return getattr(gm.get_submodule(owner), leaf)


CLEANUPS = (remove_detach, remove_assert_nodes, constant_fold, repair_input_as_output, remove_num_users_is_0_nodes)
"""What `post_lowering` applies, in this order."""
