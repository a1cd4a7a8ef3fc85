"""Which tensors share memory."""

from __future__ import annotations

import torch


def memory_of(tensor: torch.Tensor) -> int:
    """What is equal for tensors that share memory, fake ones too, while they are alive."""
    # Sparse tensors have no storage of their own.
    return int(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else id(tensor)


def address_of_memory(tensor: torch.Tensor) -> int:
    """Where the memory begins that a tensor, or a view of it, lies in; of dense tensors that are real."""
    return tensor.untyped_storage().data_ptr()
