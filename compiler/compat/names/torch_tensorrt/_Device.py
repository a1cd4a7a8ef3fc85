"""The name of `torch_tensorrt._Device`."""

from trt_passes.compiler.compat.device import Device

__all__ = ["Device"]
