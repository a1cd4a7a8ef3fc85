"""The names of `torch_tensorrt.dynamo.conversion` that users' converters have."""

from trt_passes.compiler.compat.compilation_settings import CompilationSettings
from trt_passes.compiler.compat.conversion_context import ConversionContext
from trt_passes.compiler.compat.converter_registry import DYNAMO_CONVERTERS
from trt_passes.compiler.compat.converters import ConverterPriority, dynamo_tensorrt_converter
from trt_passes.compiler.compat.interpreter import (
    SerializedInterpreterResult,
    TRTInterpreter,
    TRTInterpreterResult,
    UnsupportedOperatorException,
    convert_module,
    interpret_module_to_result,
)

from . import _conversion, _ConversionContext, _ConverterRegistry, _TRTInterpreter, converter_utils, impl, plugins

__all__ = [
    "DYNAMO_CONVERTERS",
    "CompilationSettings",
    "ConversionContext",
    "ConverterPriority",
    "SerializedInterpreterResult",
    "TRTInterpreter",
    "TRTInterpreterResult",
    "UnsupportedOperatorException",
    "convert_module",
    "converter_utils",
    "dynamo_tensorrt_converter",
    "impl",
    "interpret_module_to_result",
    "plugins",
]
