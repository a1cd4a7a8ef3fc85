"""The names of `torch_tensorrt.kernels`, which say what to do instead of a plugin."""

from trt_passes.compiler.compat.absent import KERNELS

globals().update(KERNELS)
__all__ = list(KERNELS)
