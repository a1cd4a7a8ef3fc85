"""Another place of `fx.InputTensorSpec`."""

from trt_passes.compiler.compat.fx_front_end import InputTensorSpec

__all__ = ["InputTensorSpec"]
