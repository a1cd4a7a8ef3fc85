"""The name of `torch_tensorrt.dynamo._SourceIR`."""

from trt_passes.compiler.compat.enums import SourceIR

__all__ = ["SourceIR"]
