"""The names of `torch_tensorrt.dynamo.lowering` that users' code has."""

from trt_passes.compiler.compat.lowering import get_decompositions, post_lowering, pre_export_lowering

__all__ = ["get_decompositions", "post_lowering", "pre_export_lowering"]
