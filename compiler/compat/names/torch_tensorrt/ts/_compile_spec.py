"""The names of `torch_tensorrt.ts._compile_spec`."""

from trt_passes.compiler.compat.scripts import compile_spec as TensorRTCompileSpec

__all__ = ["TensorRTCompileSpec"]
