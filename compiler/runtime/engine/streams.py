"""The current CUDA stream, as TensorRT takes it."""

from __future__ import annotations

import torch


def stream_address(device: int) -> int:
    """The `cudaStream_t` of the current stream of a device.

    `torch.cuda.current_stream` makes an object for it, which takes as long as launching a kernel.
    """
    address: int = torch._C._cuda_getCurrentRawStream(device)
    return address
