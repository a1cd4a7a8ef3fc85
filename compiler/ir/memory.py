"""Which tensors share memory, and which are the same view of it."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def memory_of(tensor: torch.Tensor) -> int:
    """What is equal for tensors that share memory, fake ones too, while they are alive."""
    # Sparse tensors have no storage of their own.
    return int(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else id(tensor)


def address_of_memory(tensor: torch.Tensor) -> int:
    """Where the memory begins that a tensor, or a view of it, lies in; of dense tensors that are real."""
    return tensor.untyped_storage().data_ptr()


def view_key(tensor: torch.Tensor) -> Hashable:
    """A key that is equal for real tensors that are the same view of the same memory, while they are alive.

    Tensors without an address of their own are equal to themselves only: sparse, quantized, empty and meta ones, and
    subclasses that wrap others.
    """
    if tensor.layout is not torch.strided or tensor.is_quantized or not tensor.data_ptr():
        return "object", id(tensor)
    # What is marked as conjugated or negated has other numbers than its memory holds.
    marks = tensor.is_conj(), tensor.is_neg()
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device, *marks


def parts_of(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The dense tensors that a tensor consists of: itself, or those that a sparse one or a subclass is made of."""
    if is_traceable_wrapper_subclass(tensor):
        names, _ = tensor.__tensor_flatten__()
        inner = [getattr(tensor, name) for name in names]
        return [part for item in inner if isinstance(item, torch.Tensor) for part in parts_of(item)]
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return [tensor]


def fingerprint(tensor: torch.Tensor) -> str:
    """SHA-256 of the numbers in a real tensor, in hex digits, wherever they are and however they are laid out."""
    digest = hashlib.sha256()
    for part in parts_of(tensor.detach()):
        if part.numel() and not part.is_meta:
            dense = part.resolve_conj().resolve_neg().cpu().contiguous()
            # Not `view`, which keeps the stride 0 of an expanded dimension of size 1.
            digest.update(dense.as_strided((dense.numel(),), (1,)).view(torch.uint8).numpy().data)
    return digest.hexdigest()
