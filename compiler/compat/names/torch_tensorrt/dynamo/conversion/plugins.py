"""The names of `torch_tensorrt.dynamo.conversion.plugins`."""

from trt_passes.compiler.compat.plugins import custom_op, generate_plugin, generate_plugin_converter

__all__ = ["custom_op", "generate_plugin", "generate_plugin_converter"]
