"""The names of `torch_tensorrt.dynamo._tracer`."""

from trt_passes.compiler.compat.compilation import trace
from trt_passes.compiler.compat.dynamic_shapes import (
    get_dynamic_shapes,
    get_dynamic_shapes_args,
    get_dynamic_shapes_kwargs,
)

__all__ = ["get_dynamic_shapes", "get_dynamic_shapes_args", "get_dynamic_shapes_kwargs", "trace"]
