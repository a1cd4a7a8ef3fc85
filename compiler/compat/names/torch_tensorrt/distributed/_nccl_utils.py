"""The names of `torch_tensorrt.distributed._nccl_utils`."""

from trt_passes.compiler.compat.distributed import initialize_nccl_comm, setup_nccl_for_torch_tensorrt

__all__ = ["initialize_nccl_comm", "setup_nccl_for_torch_tensorrt"]
