"""Another place of `conversion`."""

from trt_passes.compiler.compat.interpreter import (
    SerializedInterpreterResult,
    convert_module,
    interpret_module_to_result,
)

__all__ = ["SerializedInterpreterResult", "convert_module", "interpret_module_to_result"]
