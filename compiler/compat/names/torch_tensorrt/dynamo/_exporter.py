"""The name of `torch_tensorrt.dynamo._exporter`."""

from trt_passes.compiler.compat.compilation import program_of as export

__all__ = ["export"]
