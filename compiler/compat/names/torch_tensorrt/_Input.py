"""The name of `torch_tensorrt._Input`."""

from trt_passes.compiler.compat.input import Input

__all__ = ["Input"]
