"""The names of `torch_tensorrt.dynamo.runtime._ResourceAllocator`."""

from trt_passes.compiler.compat.modes import ResourceAllocationStrategy

__all__ = ["ResourceAllocationStrategy"]
