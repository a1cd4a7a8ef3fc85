"""The names of `torch_tensorrt.runtime._multi_device_safe_mode`."""

from trt_passes.compiler.compat.modes import set_multi_device_safe_mode

__all__ = ["set_multi_device_safe_mode"]
