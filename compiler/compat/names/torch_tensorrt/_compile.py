"""The names of `torch_tensorrt._compile`."""

from trt_passes.compiler.compat.compilation import compile
from trt_passes.compiler.compat.compilation import method_engine as convert_method_to_trt_engine
from trt_passes.compiler.compat.files import load, save

__all__ = ["compile", "convert_method_to_trt_engine", "load", "save"]
