"""The names of `torch_tensorrt.dynamo.debug._Debugger`."""

from trt_passes.compiler.compat.debugging import Debugger

__all__ = ["Debugger"]
