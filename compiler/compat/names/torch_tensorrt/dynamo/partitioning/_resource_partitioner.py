"""What is an option here: see `cpu_memory_budget`."""

from trt_passes.compiler.compat.absent import RESOURCE_PARTITION

resource_partition = RESOURCE_PARTITION

__all__ = ["resource_partition"]
