"""The name of `torch_tensorrt.dynamo._settings`."""

from trt_passes.compiler.compat.compilation_settings import CompilationSettings, settings_are_compatible

__all__ = ["CompilationSettings", "settings_are_compatible"]
