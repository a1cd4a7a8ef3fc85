"""Other places of `fx.TRTInterpreter`."""

from trt_passes.compiler.compat.interpreter import FxInterpreter as TRTInterpreter
from trt_passes.compiler.compat.interpreter import FxInterpreterResult as TRTInterpreterResult

__all__ = ["TRTInterpreter", "TRTInterpreterResult"]
