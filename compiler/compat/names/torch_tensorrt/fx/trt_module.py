"""Another place of `fx.TRTModule`."""

from trt_passes.compiler.compat.interpreter import TRTModule

__all__ = ["TRTModule"]
