"""The names of `torch_tensorrt.dynamo.runtime._MutableTorchTensorRTModule`."""

from trt_passes.compiler.compat.mutable import MutableTorchTensorRTModule, RefitFlag

__all__ = ["MutableTorchTensorRTModule", "RefitFlag"]
