"""Which tensors share memory."""

from __future__ import annotations

import torch


def memory_of(tensor: torch.Tensor) -> int:
    """What is equal for tensors that share memory, fake ones too, while they are alive."""
    # Sparse tensors have no storage of their own.
    return int(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else id(tensor)
