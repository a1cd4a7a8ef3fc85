"""Another place of `global_partition`."""

from trt_passes.compiler.compat.partitioning import OperatorSupport as TorchTensorRTOperatorSupport
from trt_passes.compiler.compat.partitioning import global_partition as partition

__all__ = ["TorchTensorRTOperatorSupport", "partition"]
