"""The name of `torch_tensorrt.dynamo.conversion._ConversionContext`."""

from trt_passes.compiler.compat.conversion_context import ConversionContext

__all__ = ["ConversionContext"]
