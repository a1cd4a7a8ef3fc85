"""The name of `torch_tensorrt.dynamo._tracer`."""

from trt_passes.compiler.compat.compilation import trace

__all__ = ["trace"]
