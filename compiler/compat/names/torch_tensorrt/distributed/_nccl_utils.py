"""The names of `torch_tensorrt.distributed._nccl_utils`."""

from trt_passes.compiler.compat.distributed import (
    get_nccl_library_path,
    initialize_nccl_comm,
    setup_nccl_for_torch_tensorrt,
)

__all__ = ["get_nccl_library_path", "initialize_nccl_comm", "setup_nccl_for_torch_tensorrt"]
