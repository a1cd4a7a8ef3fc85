"""The names of `torch_tensorrt.runtime._cudagraphs`."""

from trt_passes.compiler.compat.modes import (
    enable_cudagraphs,
    get_cudagraphs_mode,
    get_whole_cudagraphs_mode,
    set_cudagraphs_mode,
)

__all__ = [
    "enable_cudagraphs",
    "get_cudagraphs_mode",
    "get_whole_cudagraphs_mode",
    "set_cudagraphs_mode",
]
