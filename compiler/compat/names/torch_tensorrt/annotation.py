"""The names of `torch_tensorrt.annotation`, which say what to do instead of a plugin."""

from trt_passes.compiler.compat.absent import ANNOTATIONS

globals().update(ANNOTATIONS)
__all__ = list(ANNOTATIONS)
