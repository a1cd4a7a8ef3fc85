"""The names of `torch_tensorrt.dynamo.partitioning.common`."""

from trt_passes.compiler.compat.graph_tools import construct_dynamic_input, get_input, run_shape_analysis
from trt_passes.compiler.compat.partitioning import construct_submodule_inputs, get_graph_converter_support

__all__ = [
    "construct_dynamic_input",
    "construct_submodule_inputs",
    "get_graph_converter_support",
    "get_input",
    "run_shape_analysis",
]
