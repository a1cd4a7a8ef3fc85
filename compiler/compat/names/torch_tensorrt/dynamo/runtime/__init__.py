"""The names of `torch_tensorrt.dynamo.runtime`: there is one runtime here, and both of its modules are that."""

from trt_passes.compiler.compat.mutable import MutableTorchTensorRTModule
from trt_passes.compiler.runtime.compiled_segment import CompiledSegment as PythonTorchTensorRTModule
from trt_passes.compiler.runtime.compiled_segment import CompiledSegment as TorchTensorRTModule

__all__ = ["MutableTorchTensorRTModule", "PythonTorchTensorRTModule", "TorchTensorRTModule"]
