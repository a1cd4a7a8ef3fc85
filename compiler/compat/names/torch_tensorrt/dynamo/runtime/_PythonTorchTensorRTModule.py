"""The names of `torch_tensorrt.dynamo.runtime._PythonTorchTensorRTModule`."""

from trt_passes.compiler.compat.raw_engines import TorchTensorRTModule as PythonTorchTensorRTModule

__all__ = ["PythonTorchTensorRTModule"]
