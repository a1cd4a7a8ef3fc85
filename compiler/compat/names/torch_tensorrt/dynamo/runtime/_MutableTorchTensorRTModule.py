"""The names of `torch_tensorrt.dynamo.runtime._MutableTorchTensorRTModule`."""

from trt_passes.compiler.compat.mutable import (
    DynamicShapeOutOfRangeException,
    MutableTorchTensorRTModule,
    RefitFlag,
    RefitState,
)

__all__ = [
    "DynamicShapeOutOfRangeException",
    "MutableTorchTensorRTModule",
    "RefitFlag",
    "RefitState",
]
