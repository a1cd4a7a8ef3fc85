"""Another place of `fast_partition`."""

from trt_passes.compiler.compat.partitioning import OperatorSupport as OpSupportTester
from trt_passes.compiler.compat.partitioning import fast_partition as partition

__all__ = ["OpSupportTester", "partition"]
