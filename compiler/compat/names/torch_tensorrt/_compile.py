"""The names of `torch_tensorrt._compile`."""

from trt_passes.compiler.compat.compilation import compile
from trt_passes.compiler.compat.compilation import method_engine as convert_method_to_trt_engine
from trt_passes.compiler.compat.files import load, save
from trt_passes.compiler.compat.windows import cross_compile_for_windows, load_cross_compiled_exported_program

__all__ = [
    "compile",
    "convert_method_to_trt_engine",
    "cross_compile_for_windows",
    "load",
    "load_cross_compiled_exported_program",
    "save",
]
