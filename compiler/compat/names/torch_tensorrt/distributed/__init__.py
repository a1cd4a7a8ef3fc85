"""The names of `torch_tensorrt.distributed`."""

from trt_passes.compiler.compat.distributed import (
    distributed_context,
    distributed_group,
    set_distributed_group,
    set_distributed_mode,
    setup_nccl_for_torch_tensorrt,
)

from . import _nccl_utils

__all__ = [
    "distributed_context",
    "distributed_group",
    "set_distributed_group",
    "set_distributed_mode",
    "setup_nccl_for_torch_tensorrt",
]
