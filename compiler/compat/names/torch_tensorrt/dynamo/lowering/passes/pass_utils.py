"""The names of `torch_tensorrt.dynamo.lowering.passes.pass_utils`."""

from trt_passes.compiler.compat.lowering_passes import clean_up_graph_after_modifications, get_tensor_placeholders

__all__ = ["clean_up_graph_after_modifications", "get_tensor_placeholders"]
