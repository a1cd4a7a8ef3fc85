"""The name of `torch_tensorrt.dynamo._settings`."""

from trt_passes.compiler.compat.compilation_settings import CompilationSettings

__all__ = ["CompilationSettings"]
