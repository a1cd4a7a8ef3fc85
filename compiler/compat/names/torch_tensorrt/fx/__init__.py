"""The names of `torch_tensorrt.fx`."""

from trt_passes.compiler.compat.fx_front_end import InputTensorSpec, LowerPrecision, compile
from trt_passes.compiler.compat.interpreter import FxInterpreter as TRTInterpreter
from trt_passes.compiler.compat.interpreter import FxInterpreterResult as TRTInterpreterResult
from trt_passes.compiler.compat.interpreter import TRTModule

from . import fx2trt, input_tensor_spec, lower, lower_setting, tracer, trt_module, utils

__all__ = [
    "InputTensorSpec",
    "LowerPrecision",
    "TRTInterpreter",
    "TRTInterpreterResult",
    "TRTModule",
    "compile",
]
