"""The names of `torch_tensorrt.dynamo.partitioning`."""

from trt_passes.compiler.compat.graph_tools import run_shape_analysis
from trt_passes.compiler.compat.partitioning import (
    construct_submodule_inputs,
    fast_partition,
    get_graph_converter_support,
    global_partition,
    hierarchical_adjacency_partition,
)

from . import _adjacency_partitioner, _atomic_subgraphs, _global_partitioner, _hierarchical_partitioner, common
from ._resource_partitioner import resource_partition

__all__ = [
    "construct_submodule_inputs",
    "fast_partition",
    "get_graph_converter_support",
    "global_partition",
    "hierarchical_adjacency_partition",
    "resource_partition",
    "run_shape_analysis",
]
