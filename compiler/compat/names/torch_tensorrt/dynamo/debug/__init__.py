"""The names of `torch_tensorrt.dynamo.debug`."""

from trt_passes.compiler.compat.debugging import Debugger, DebuggerConfig

from . import _Debugger, _DebuggerConfig

__all__ = ["Debugger", "DebuggerConfig"]
