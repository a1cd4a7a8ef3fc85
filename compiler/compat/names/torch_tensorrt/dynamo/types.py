"""The names of `torch_tensorrt.dynamo.types`."""

from typing import Any

from trt_passes.compiler.compat.network_types import network_type


def __getattr__(name: str) -> Any:
    # TensorRT is imported when it is first asked for.
    return network_type(name)
