"""The names of `torch_tensorrt.dynamo.lowering` that users' code has."""

from typing import Any

from trt_passes.compiler.compat.lowering import (
    get_decompositions,
    post_lowering,
    pre_export_lowering,
    register_torch_trt_decomposition,
    table,
)

from . import _decompositions, passes
from .passes import _aten_lowering_pass, _remove_lowering_pass, dump_lowering_passes

__all__ = [
    "TORCH_TRT_DECOMPOSITIONS",
    "_aten_lowering_pass",
    "_remove_lowering_pass",
    "dump_lowering_passes",
    "get_decompositions",
    "passes",
    "post_lowering",
    "pre_export_lowering",
    "register_torch_trt_decomposition",
]


def __getattr__(name: str) -> Any:
    # Made when it is first asked for: PyTorch's own decompositions take a while to import.
    if name == "TORCH_TRT_DECOMPOSITIONS":
        return table()
    raise AttributeError(name)
