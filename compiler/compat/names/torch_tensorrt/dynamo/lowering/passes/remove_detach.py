"""The names of `torch_tensorrt.dynamo.lowering.passes.remove_detach`."""

from trt_passes.compiler.compat.cleanups import remove_detach

__all__ = ["remove_detach"]
