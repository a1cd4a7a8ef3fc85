"""The name of `torch_tensorrt.fx.utils`."""

from trt_passes.compiler.compat.fx_front_end import LowerPrecision

__all__ = ["LowerPrecision"]
