"""The names of `torch_tensorrt.ts._Input`."""

from trt_passes.compiler.compat.input import Input as TorchScriptInput

__all__ = ["TorchScriptInput"]
