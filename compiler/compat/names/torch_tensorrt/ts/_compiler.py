"""The names of `torch_tensorrt.ts._compiler`."""

from trt_passes.compiler.compat.compilation import compile_script as compile
from trt_passes.compiler.compat.compilation import method_engine as convert_method_to_trt_engine
from trt_passes.compiler.compat.scripts import check_method_op_support, embed_engine_in_new_module

__all__ = [
    "check_method_op_support",
    "compile",
    "convert_method_to_trt_engine",
    "embed_engine_in_new_module",
]
