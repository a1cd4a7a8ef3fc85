"""The names of `torch_tensorrt.ts._Device`."""

from trt_passes.compiler.compat.device import Device as TorchScriptDevice

__all__ = ["TorchScriptDevice"]
