"""Calls of the operator `flex_attention` in a graph, in which torch.export and torch.compile leave it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

from ...compiler.errors import UserError
from ...compiler.ir.expanded_call import NotExpandable, plain, sizes_stay_open
from ...compiler.ir.flex_attention import attention
from ...compiler.ir.program import fake_mode_of
from .expansion import inline


def expand_flex_attention(module: GraphModule) -> bool:
    """Put operators in the places of these calls, and say whether there were any.

    One stays where its functions are not for all scores at once. What torch.vmap says in a graph must be gone: it
    concerns all that is between.
    """
    changed = False
    for node in list(_calls(module)):
        try:
            inline(node, _body(module, node))
        except (UserError, NotExpandable):
            continue
        module.graph.eliminate_dead_code()
        changed = True
    used = {node.target for node in module.graph.find_nodes(op="get_attr")}
    for name, _ in list(module.named_children()):
        if name not in used and name.startswith(("sdpa_score", "sdpa_mask", "score_mod", "mask_fn")):
            module.delete_submodule(name)
    return changed


def _calls(module: GraphModule) -> Iterator[Node]:
    for node in module.graph.nodes:
        if node.op == "call_function" and getattr(node.target, "_name", "") == "flex_attention":
            yield node


def _body(module: GraphModule, node: Node) -> GraphModule:
    """The operators, as a graph of the inputs of the call; the functions for scores and masks are part of it."""
    inputs = node.all_input_nodes
    places = {source: place for place, source in enumerate(inputs)}
    mode: Any = fake_mode_of(node.graph) or nullcontext()

    def run(*values: Any) -> Any:
        def given(source: Node) -> Any:
            return module.get_submodule(str(source.target)) if source.op == "get_attr" else values[places[source]]

        return attention(*plain(map_arg(node.args, given)))

    with torch.no_grad(), mode, sizes_stay_open(node.graph):
        values = tuple(torch.empty(0) if source.op == "get_attr" else source.meta["val"] for source in inputs)
        body = make_fx(run)(*values)
    if body.graph.find_nodes(op="get_attr"):
        raise NotExpandable("flex_attention has a constant")
    return body
