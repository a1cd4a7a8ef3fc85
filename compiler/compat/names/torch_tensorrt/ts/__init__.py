"""The names of `torch_tensorrt.ts`."""

from __future__ import annotations

from trt_passes.compiler.compat.compilation import compile_script as compile
from trt_passes.compiler.compat.compilation import method_engine as convert_method_to_trt_engine
from trt_passes.compiler.compat.tools import compile_spec as TensorRTCompileSpec

from . import logging

__all__ = ["TensorRTCompileSpec", "compile", "convert_method_to_trt_engine", "logging"]
