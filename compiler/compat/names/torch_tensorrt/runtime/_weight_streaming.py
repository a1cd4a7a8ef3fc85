"""The names of `torch_tensorrt.runtime._weight_streaming`."""

from trt_passes.compiler.compat.modes import weight_streaming

__all__ = ["weight_streaming"]
