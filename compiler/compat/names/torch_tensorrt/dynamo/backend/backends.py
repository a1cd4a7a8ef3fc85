"""The names of `torch_tensorrt.dynamo.backend.backends`."""

from trt_passes.compiler.compat.compilation import backend as aot_torch_tensorrt_aten_backend
from trt_passes.compiler.compat.compilation import backend as torch_tensorrt_backend

__all__ = ["aot_torch_tensorrt_aten_backend", "torch_tensorrt_backend"]
