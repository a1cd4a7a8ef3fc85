"""The names of `torch_tensorrt.dynamo._compiler`."""

from trt_passes.compiler.compat.compilation import compile_program as compile
from trt_passes.compiler.compat.compilation import (
    serialized_engine as convert_exported_program_to_serialized_trt_engine,
)
from trt_passes.compiler.compat.interpreter import convert_module
from trt_passes.compiler.errors import BindingNameMismatch as BindingNameMismatchError

__all__ = ["BindingNameMismatchError", "compile", "convert_exported_program_to_serialized_trt_engine", "convert_module"]
