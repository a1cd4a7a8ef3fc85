"""The name of `torch_tensorrt.dynamo.backend.backends`."""

from trt_passes.compiler.compat.compilation import backend as torch_tensorrt_backend

__all__ = ["torch_tensorrt_backend"]
