"""The name of `torch_tensorrt.fx.lower`."""

from trt_passes.compiler.compat.fx_front_end import compile

__all__ = ["compile"]
