"""The names of `torch_tensorrt._enums`."""

from trt_passes.compiler.compat.enums import DeviceType, EngineCapability, Platform, dtype, memory_format

__all__ = ["DeviceType", "EngineCapability", "Platform", "dtype", "memory_format"]
