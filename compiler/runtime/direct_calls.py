"""The second way to run a compiled graph: engines called directly, instead of through PyTorch's dispatcher."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.fx._symbolic_trace import is_fx_symbolic_tracing

from .compiled_segment import CompiledSegment
from .operator import OPERATOR

SEGMENTS = "_trt_passes_segments"
"""Attribute of a compiled module whose attributes are its segments, by the name of the node that calls them."""

Forward = Callable[..., Any]


def engine_calls(module: GraphModule) -> list[Node]:
    """The calls of `trt_passes::execute_engine`, in the order in which they run."""
    return list(module.graph.find_nodes(op="call_function", target=OPERATOR))


def compiled_segments(module: GraphModule) -> dict[str, CompiledSegment]:
    """What can run each engine call directly; calls whose operands are no attributes, after an edit, have none."""
    found = {}
    for node in engine_calls(module):
        _, engine, spec_text, fallback, constants = node.args
        operands = [engine, fallback, *constants]  # type: ignore[misc]
        if all(isinstance(operand, Node) and operand.op == "get_attr" for operand in operands):
            names = [str(operand.target) for operand in operands]
            found[node.name] = CompiledSegment(module, names[0], str(spec_text), names[1], tuple(names[2:]))
    return found


def direct_forward(module: GraphModule, segments: Mapping[str, CompiledSegment]) -> Forward:
    """A `forward` for the module in which the segments stand for the calls of the operator.

    The module must have them as the attribute `SEGMENTS`.
    """
    graph = copy.deepcopy(module.graph)
    pairs = zip(module.graph.nodes, graph.nodes, strict=True)
    for node in [twin for original, twin in pairs if original.name in segments]:
        with graph.inserting_before(node):
            call = graph.create_node("call_module", f"{SEGMENTS}.{node.name}", tuple(node.args[0]))
        node.replace_all_uses_with(call)
        operands = node.all_input_nodes
        graph.erase_node(node)
        for operand in operands:
            if operand.op == "get_attr" and not operand.users:
                graph.erase_node(operand)
    forward: Forward = type(GraphModule(module, graph)).forward
    return forward


def forward_of(official: Forward, direct: Forward) -> Forward:
    """A method with the signature of `official`, which runs what is traced; `direct` runs the rest."""

    @functools.wraps(official)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return (official if _is_traced() else direct)(self, *args, **kwargs)

    return forward


def _is_traced() -> bool:
    return (
        torch.compiler.is_compiling()
        # make_fx, fake tensors, and modes of users that want to see every operator.
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._get_tracing_state() is not None
        or is_fx_symbolic_tracing()
    )
