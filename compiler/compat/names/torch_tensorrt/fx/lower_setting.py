"""Another place of `fx.LowerPrecision`."""

from trt_passes.compiler.compat.fx_front_end import LowerPrecision

__all__ = ["LowerPrecision"]
