"""Another place of `conversion`."""

from trt_passes.compiler.compat.interpreter import TRTInterpreter, TRTInterpreterResult, UnsupportedOperatorException

__all__ = ["TRTInterpreter", "TRTInterpreterResult", "UnsupportedOperatorException"]
