"""The names of `torch_tensorrt.dynamo.runtime._TorchTensorRTModule`."""

from trt_passes.compiler.compat.raw_engines import TorchTensorRTModule

__all__ = ["TorchTensorRTModule"]
