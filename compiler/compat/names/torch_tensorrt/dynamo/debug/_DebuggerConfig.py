"""The names of `torch_tensorrt.dynamo.debug._DebuggerConfig`."""

from trt_passes.compiler.compat.debugging import DebuggerConfig

__all__ = ["DebuggerConfig"]
