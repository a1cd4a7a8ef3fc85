"""What is not needed here: operators that TensorRT fuses are kept together by it."""

from trt_passes.compiler.compat.absent import ATOMIC_SUBGRAPH

register_atomic_subgraph = ATOMIC_SUBGRAPH

__all__ = ["register_atomic_subgraph"]
