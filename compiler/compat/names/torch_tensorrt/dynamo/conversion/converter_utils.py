"""The names of `torch_tensorrt.dynamo.conversion.converter_utils` that users' converters have."""

from trt_passes.compiler.compat.converters import get_trt_tensor, set_layer_name

__all__ = ["get_trt_tensor", "set_layer_name"]
