"""The names of `torch_tensorrt.dynamo.runtime`: there is one runtime here, and both of its modules are that."""

from trt_passes.compiler.compat.modes import ResourceAllocationStrategy
from trt_passes.compiler.compat.mutable import MutableTorchTensorRTModule
from trt_passes.compiler.compat.raw_engines import TorchTensorRTModule

from . import (
    _MutableTorchTensorRTModule,
    _PythonTorchTensorRTModule,
    _ResourceAllocator,
    _TorchTensorRTModule,
)

PythonTorchTensorRTModule = TorchTensorRTModule

__all__ = [
    "MutableTorchTensorRTModule",
    "PythonTorchTensorRTModule",
    "ResourceAllocationStrategy",
    "TorchTensorRTModule",
]
