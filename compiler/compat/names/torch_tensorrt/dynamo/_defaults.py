"""The names of `torch_tensorrt.dynamo._defaults`: the usual values of options, in capitals."""

from typing import Any

from trt_passes.compiler.compat.compilation_settings import usual_value


def __getattr__(name: str) -> Any:
    return usual_value(name)
