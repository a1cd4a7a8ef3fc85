"""The names of `torch_tensorrt.runtime._output_allocator`."""

from trt_passes.compiler.compat.modes import enable_output_allocator

__all__ = ["enable_output_allocator"]
