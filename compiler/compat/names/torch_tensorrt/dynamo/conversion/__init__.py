"""The names of `torch_tensorrt.dynamo.conversion` that users' converters have."""

from trt_passes.compiler.compat.converters import ConversionContext, ConverterPriority, dynamo_tensorrt_converter

from . import converter_utils

__all__ = ["ConversionContext", "ConverterPriority", "converter_utils", "dynamo_tensorrt_converter"]
