"""The names of `torch_tensorrt.dynamo.types`."""

from trt_passes.compiler.compat.network_types import TRTDataType, TRTElementWiseOp, TRTLayer, TRTNetwork, TRTTensor

__all__ = ["TRTDataType", "TRTElementWiseOp", "TRTLayer", "TRTNetwork", "TRTTensor"]
