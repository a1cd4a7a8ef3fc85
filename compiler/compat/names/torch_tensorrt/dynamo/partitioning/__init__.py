"""The name of `torch_tensorrt.dynamo.partitioning` that users' code has."""

from trt_passes.compiler.compat.converter_registry import get_graph_converter_support

__all__ = ["get_graph_converter_support"]
