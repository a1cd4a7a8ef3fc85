"""The names of `torch_tensorrt.ts`."""

from __future__ import annotations

from trt_passes.compiler.compat.compilation import compile_script as compile
from trt_passes.compiler.compat.compilation import method_engine as convert_method_to_trt_engine
from trt_passes.compiler.compat.scripts import check_method_op_support, compile_spec, embed_engine_in_new_module

from . import _compile_spec, _compiler, _Device, _Input, logging, ptq
from ._Device import TorchScriptDevice
from ._Input import TorchScriptInput

TensorRTCompileSpec = compile_spec

__all__ = [
    "TensorRTCompileSpec",
    "TorchScriptDevice",
    "TorchScriptInput",
    "check_method_op_support",
    "compile",
    "convert_method_to_trt_engine",
    "embed_engine_in_new_module",
    "logging",
    "ptq",
]
