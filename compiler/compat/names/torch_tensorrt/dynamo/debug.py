"""The name of `torch_tensorrt.dynamo.debug`."""

from trt_passes.compiler.compat.debugging import Debugger

__all__ = ["Debugger"]
