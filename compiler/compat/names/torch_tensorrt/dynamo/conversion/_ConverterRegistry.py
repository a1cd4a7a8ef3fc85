"""The names of `torch_tensorrt.dynamo.conversion._ConverterRegistry`."""

from trt_passes.compiler.compat.converter_registry import (
    DYNAMO_ATEN_CONVERTERS,
    DYNAMO_CONVERTERS,
    CallingConvention,
    ConverterRegistry,
    ConverterSupport,
)
from trt_passes.compiler.compat.converter_tools import (
    has_dynamic_shapes,
    has_dynamic_shapes_in_args,
    has_static_shapes,
    has_static_shapes_in_args,
)
from trt_passes.compiler.compat.converters import ConverterPriority, dynamo_tensorrt_converter

__all__ = [
    "DYNAMO_ATEN_CONVERTERS",
    "DYNAMO_CONVERTERS",
    "CallingConvention",
    "ConverterPriority",
    "ConverterRegistry",
    "ConverterSupport",
    "dynamo_tensorrt_converter",
    "has_dynamic_shapes",
    "has_dynamic_shapes_in_args",
    "has_static_shapes",
    "has_static_shapes_in_args",
]
