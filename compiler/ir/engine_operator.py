"""Calls of `trt_passes::execute_engine`, the torch operator that stands for an engine in a compiled graph."""

from __future__ import annotations

from torch.fx import GraphModule, Node

from .operators import EXECUTE_ENGINE

NAME = "trt_passes::execute_engine"
OPERATOR = EXECUTE_ENGINE


def engine_calls(module: GraphModule) -> list[Node]:
    """The calls of `trt_passes::execute_engine`, in the order in which they run."""
    return list(module.graph.find_nodes(op="call_function", target=OPERATOR))
