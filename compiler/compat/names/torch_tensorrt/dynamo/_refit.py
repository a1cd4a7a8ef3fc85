"""The name of `torch_tensorrt.dynamo._refit`."""

from trt_passes.compiler.compat.refit import refit_module_weights

__all__ = ["refit_module_weights"]
