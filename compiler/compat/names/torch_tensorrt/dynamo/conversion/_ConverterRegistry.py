"""The names of `torch_tensorrt.dynamo.conversion._ConverterRegistry`."""

from trt_passes.compiler.compat.converter_registry import (
    DYNAMO_CONVERTERS,
    CallingConvention,
    ConverterRegistry,
    ConverterSupport,
)
from trt_passes.compiler.compat.converters import ConverterPriority, dynamo_tensorrt_converter

__all__ = [
    "DYNAMO_CONVERTERS",
    "CallingConvention",
    "ConverterPriority",
    "ConverterRegistry",
    "ConverterSupport",
    "dynamo_tensorrt_converter",
]
