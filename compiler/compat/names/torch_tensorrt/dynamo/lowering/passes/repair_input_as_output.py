"""The names of `torch_tensorrt.dynamo.lowering.passes.repair_input_as_output`."""

from trt_passes.compiler.compat.cleanups import repair_input_as_output

__all__ = ["repair_input_as_output"]
