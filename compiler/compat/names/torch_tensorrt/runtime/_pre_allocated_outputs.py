"""The names of `torch_tensorrt.runtime._pre_allocated_outputs`."""

from trt_passes.compiler.compat.modes import enable_pre_allocated_outputs

__all__ = ["enable_pre_allocated_outputs"]
