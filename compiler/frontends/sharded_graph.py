"""Graphs of torch.compile whose tensors are distributed over processes: the part of this process, with collectives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule

from .dynamo_graph import DynamoGraph

MakeGraph = Callable[[DynamoGraph], Callable[..., Any]]


def is_sharded(graph: GraphModule) -> bool:
    """Whether a graph that dynamo found takes tensors that are distributed over processes (DTensors)."""
    module = sys.modules.get("torch.distributed.tensor")
    if module is None:
        return False
    values = (node.meta.get("example_value") for node in graph.graph.find_nodes(op="placeholder"))
    return any(isinstance(value, module.DTensor) for value in values)


def local_graph(graph: GraphModule, example_inputs: Sequence[Any], make: MakeGraph) -> Callable[..., Any]:
    """What runs a graph on the shards that this process has: PyTorch's AOTAutograd takes the tensors apart.

    Weights are inputs of the engines: PyTorch does not count the writes to the shard in a distributed tensor, so that
    engines which hold it would not know of new numbers.

    Args:
        graph: what dynamo found.
        example_inputs: of it.
        make: compiles the graph of shards, whose collectives exchange them.
    """
    from torch._dynamo.backends.common import aot_autograd

    def compile_local(local: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        kept = _without_meshes(local)
        for node in local.graph.nodes:
            if "val" in node.meta:
                node.meta["example_value"] = node.meta["val"]
        compiled = make(DynamoGraph.of(local))
        return lambda *args: compiled(*(args[index] for index in kept))

    def as_it_is(backward: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        return backward.forward

    made: Any = aot_autograd(fw_compiler=compile_local, bw_compiler=as_it_is)
    found: Callable[..., Any] = made(graph, example_inputs)
    return found


def _without_meshes(local: GraphModule) -> tuple[int, ...]:
    """Take away inputs of a graph that are no tensors and not read, such as meshes; the positions of the others."""
    kept = []
    for index, node in enumerate(local.graph.find_nodes(op="placeholder")):
        if node.users or isinstance(node.meta.get("val"), torch.Tensor | torch.SymInt | int):
            kept.append(index)
        else:
            local.graph.erase_node(node)
    local.recompile()
    return tuple(kept)
