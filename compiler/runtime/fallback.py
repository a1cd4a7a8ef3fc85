"""The PyTorch graph of a segment: what runs where its engine cannot."""

from __future__ import annotations

import torch
from torch.fx import Graph, GraphModule, Node

from ..program import Program, Segment, is_symbolic
from .sizes_in_graph import SizesInGraph


def segment_module(program: Program, segment: Segment) -> GraphModule:
    """The nodes of a segment as a module without state.

    Its arguments are the segment's inputs, then its constants; it returns a tuple of the segment's outputs. Sizes that
    other regions compute are computed again, from the shapes of the inputs.
    """
    nodes = program.nodes_by_name
    graph = Graph()
    copies: dict[Node, Node] = {}
    sizes = SizesInGraph(graph)
    for name in (*segment.inputs, *segment.constants):
        copy = copies[nodes[name]] = graph.placeholder(name)
        copy.meta = {"val": nodes[name].meta["val"]}
        sizes.add(copy)

    def copied(argument: Node) -> Node:
        if is_symbolic(argument):
            copies[argument] = sizes.size(argument.meta["val"])
        return copies[argument]

    for node in (nodes[name] for name in segment.nodes if not is_symbolic(nodes[name])):
        copies[node] = graph.node_copy(node, copied)
        copies[node].meta = {"val": node.meta["val"]}
    graph.output(tuple(copies[nodes[name]] for name in segment.outputs))
    return GraphModule(torch.nn.Module(), graph, class_name=segment.name.replace("-", "_"))


def on_device(module: GraphModule, device: torch.device) -> GraphModule:
    """The module with every tensor that its graph creates created on `device`: exported graphs name their devices."""
    graph = Graph()
    copies: dict[Node, Node] = {}
    for node in module.graph.nodes:
        copies[node] = graph.node_copy(node, lambda argument: copies[argument])
        if isinstance(node.kwargs.get("device"), torch.device):
            copies[node].update_kwarg("device", device)
    return GraphModule(module, graph)
