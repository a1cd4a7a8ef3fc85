"""The names of `torch_tensorrt.fx` that users' code has."""

from trt_passes.compiler.compat.fx_front_end import InputTensorSpec, LowerPrecision, compile

__all__ = ["InputTensorSpec", "LowerPrecision", "compile"]
