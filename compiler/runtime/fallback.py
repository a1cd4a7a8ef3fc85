"""The PyTorch graph of a segment: what runs where its engine cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from ..ir.program import Program, Segment, is_symbolic
from .calls.any_strides import take_any_strides
from .sizes_in_graph import SizesInGraph


def segment_module(program: Program, segment: Segment) -> GraphModule:
    """The nodes of a segment as a module without state.

    Its arguments are the segment's inputs, then its constants; it returns a tuple of the segment's outputs. Sizes that
    other regions compute are computed again, from the shapes of the inputs.
    """
    nodes = program.nodes_by_name
    root, graph = torch.nn.Module(), Graph()
    copies: dict[Node, Node] = {}
    sizes = SizesInGraph(graph, nodes)
    for name in (*segment.inputs, *segment.constants):
        copy = copies[nodes[name]] = graph.placeholder(name)
        copy.meta = {"val": nodes[name].meta["val"]}
        sizes.add(copy)

    def copied(argument: Node) -> Any:
        if is_symbolic(argument):
            return sizes.copied(argument, lambda other: sizes.size(other.meta["val"]))
        if argument.op == "get_attr" and argument not in copies:
            # A graph that an operator takes: the branch of a conditional, the body of a loop.
            root.add_module(argument.name, program.exported.graph_module.get_submodule(str(argument.target)))
            copies[argument] = graph.create_node("get_attr", argument.name, name=argument.name)
        return copies[argument]

    for node in (nodes[name] for name in segment.nodes if not is_symbolic(nodes[name])):
        copies[node] = graph.node_copy(node, copied)
        copies[node].meta = {key: node.meta[key] for key in ("val", "stack_trace") if key in node.meta}
    graph.output(tuple(copies[nodes[name]] for name in segment.outputs))
    module = GraphModule(root, graph, class_name=segment.name.replace("-", "_"))
    take_any_strides(module)
    return module


def on_device(module: GraphModule, device: torch.device) -> GraphModule:
    """The module with every tensor that its graph creates created on `device`: exported graphs name their devices."""
    graph = Graph()
    copies: dict[Node, Node] = {}
    for node in module.graph.nodes:
        copies[node] = graph.node_copy(node, lambda argument: copies[argument])
    move_made_tensors(graph, lambda _: device)
    moved = GraphModule(module, graph)
    for name, body in module.named_children():
        if isinstance(body, GraphModule):
            moved.add_module(name, on_device(body, device))
    return moved


def move_made_tensors(graph: Graph, moved: Callable[[torch.device], torch.device]) -> bool:
    """Let calls that name a device name the one that `moved` gives for it, in place; whether any changed."""
    changed = False
    for node in graph.nodes:
        device = node.kwargs.get("device")
        if isinstance(device, torch.device) and moved(device) != device:
            node.update_kwarg("device", moved(device))
            changed = True
    return changed
