"""Another place of `hierarchical_adjacency_partition`."""

from trt_passes.compiler.compat.partitioning import hierarchical_adjacency_partition

__all__ = ["hierarchical_adjacency_partition"]
