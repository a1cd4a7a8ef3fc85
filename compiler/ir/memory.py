"""Which tensors share memory, which are the same view of it, and how often they were written to."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Hashable, Sequence

import torch
from torch.export import ExportedProgram
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def memory_of(tensor: torch.Tensor) -> int:
    """What is equal for tensors that share memory, fake ones too, while they are alive."""
    # Sparse tensors have no storage of their own, and neither has what torch.vmap makes of others.
    if tensor.layout != torch.strided or torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return id(tensor)
    return int(tensor.untyped_storage()._cdata)


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


def times_written(tensor: torch.Tensor) -> int:
    """How often a tensor was written to in place; 0 for those made in inference mode, which do not count it."""
    return 0 if tensor.is_inference() else tensor._version


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
            digest.update(_bytes(part).cpu().numpy().data)
    return digest.hexdigest()


def same_numbers(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two real tensors of one shape and type hold the same bits, as far as they are more than a shape."""
    pairs = zip(parts_of(one.detach()), parts_of(other.detach()), strict=True)
    return all(left.is_meta or torch.equal(_bytes(left), _bytes(right)) for left, right in pairs)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    dense = tensor.resolve_conj().resolve_neg().contiguous()
    # Not `view`, which keeps the stride 0 of an expanded dimension of size 1.
    return dense.as_strided((dense.numel(),), (1,)).view(torch.uint8)


def with_bytes_of_its_own(exported: ExportedProgram) -> ExportedProgram:
    """A program that PyTorch has read from a file, with copies of tensors of one byte, in place.

    PyTorch 2.11 makes tensors in the memory of what it reads, and Python has every `bytes` of length 1 only once: who
    writes to such a tensor changes that for the whole process.
    """
    copies: dict[int, torch.Tensor] = {}
    for owner in (exported.state_dict, exported.constants):
        for name, tensor in owner.items():
            plain = isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided and not tensor.is_meta
            if plain and tensor.untyped_storage().nbytes() == 1:
                copy = copies.setdefault(memory_of(tensor), tensor.detach().clone())
                is_parameter = isinstance(tensor, torch.nn.Parameter)
                owner[name] = torch.nn.Parameter(copy, tensor.requires_grad) if is_parameter else copy
    return exported


def byte_range(tensor: torch.Tensor) -> tuple[int, int]:
    """The addresses of the first byte of a real dense tensor, and of that after its last; 0, 0 without elements."""
    if not tensor.numel():
        return 0, 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size()


def overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two real tensors have a byte of memory in common: not so the even and the odd columns of a matrix."""
    return any(_dense_overlap(left, right) for left in parts_of(one) for right in parts_of(other))


def _dense_overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    ranges = byte_range(one), byte_range(other)
    start, end = max(low for low, _ in ranges), min(high for _, high in ranges)
    if start >= end or one.device != other.device:
        return False
    if one.is_contiguous() and other.is_contiguous():
        return True
    origin = min(low for low, _ in ranges)
    used = torch.zeros(max(high for _, high in ranges) - origin, dtype=torch.bool)
    _bytes_within(used, origin, one).fill_(True)
    return bool(_bytes_within(used, origin, other).any())


def _bytes_within(memory: torch.Tensor, origin: int, tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor in a map of memory that begins at an address."""
    size = tensor.element_size()
    strides = [stride * size for stride in tensor.stride()]
    return memory.as_strided((*tensor.shape, size), (*strides, 1), tensor.data_ptr() - origin)


def first_overlap(
    tensors: Sequence[torch.Tensor], counts: Callable[[int, int], bool] = lambda one, other: True
) -> tuple[int, int] | None:
    """The places of the first two real tensors that overlap, of those pairs for which `counts` is true; else None."""
    end = -1
    for low, high in sorted(byte_range(part) for tensor in tensors for part in parts_of(tensor)):
        if low < end:
            break
        end = max(end, high)
    else:
        return None
    pairs = itertools.combinations(range(len(tensors)), 2)
    return next((pair for pair in pairs if counts(*pair) and overlap(*(tensors[place] for place in pair))), None)
