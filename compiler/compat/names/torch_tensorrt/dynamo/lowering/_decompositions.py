"""The names of `torch_tensorrt.dynamo.lowering._decompositions`."""

from typing import Any

from trt_passes.compiler.compat.lowering import get_decompositions, register_torch_trt_decomposition, table

__all__ = ["get_decompositions", "register_torch_trt_decomposition"]


def __getattr__(name: str) -> Any:
    # Made when it is first asked for: PyTorch's own decompositions take a while to import.
    if name == "TORCH_TRT_DECOMPOSITIONS":
        return table()
    raise AttributeError(name)
