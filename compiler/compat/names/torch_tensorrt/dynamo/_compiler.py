"""The names of `torch_tensorrt.dynamo._compiler`."""

from trt_passes.compiler.compat.compilation import compile_program as compile
from trt_passes.compiler.compat.compilation import (
    serialized_engine as convert_exported_program_to_serialized_trt_engine,
)
from trt_passes.compiler.compat.compilation import trace
from trt_passes.compiler.compat.interpreter import convert_module
from trt_passes.compiler.compat.windows import cross_compile_program_for_windows as cross_compile_for_windows
from trt_passes.compiler.compat.windows import (
    load_cross_compiled_exported_program,
    save_cross_compiled_exported_program,
)
from trt_passes.compiler.errors import BindingNameMismatch as BindingNameMismatchError

__all__ = [
    "BindingNameMismatchError",
    "compile",
    "convert_exported_program_to_serialized_trt_engine",
    "convert_module",
    "cross_compile_for_windows",
    "load_cross_compiled_exported_program",
    "save_cross_compiled_exported_program",
    "trace",
]
