"""How the memory of an argument lies, and what sort of tensor it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from tests.subclasses import Named


def _transposed(made: Tensor) -> Tensor:
    return made.transpose(-1, -2).contiguous().transpose(-1, -2) if made.dim() >= 2 else made


def _sliced(made: Tensor) -> Tensor:
    return torch.cat([made, made], -1)[..., : made.shape[-1]] if made.dim() else made


def _stepped(made: Tensor) -> Tensor:
    return made.repeat_interleave(2, -1)[..., ::2] if made.dim() else made


def _offset(made: Tensor) -> Tensor:
    """One element behind the beginning of its memory, which is no address that kernels like."""
    return torch.cat([made.new_zeros(1), made.flatten()])[1:].view(made.shape)


def _reversed(made: Tensor) -> Tensor:
    return made.permute(*reversed(range(made.dim()))).contiguous().permute(*reversed(range(made.dim())))


def _channels_last(made: Tensor) -> Tensor:
    return made.contiguous(memory_format=torch.channels_last) if made.dim() == 4 else made


def _expanded(made: Tensor) -> Tensor:
    """The same elements in every place of the first dimension, in one place of the memory."""
    return made[:1].expand_as(made) if made.dim() and made.shape[0] else made


def _overlapping(made: Tensor) -> Tensor:
    """Every element in several places: windows of one row."""
    if made.dim() < 2 or not made.numel():
        return made
    row = made.flatten()[: sum(made.shape)]
    length = sum(size - 1 for size in made.shape) + 1
    row = row.repeat(math.ceil(length / row.numel()))[:length]
    return row.as_strided(made.shape, [1] * made.dim())


def _plain(made: Tensor) -> Tensor:
    return made


LAYOUTS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "contiguous": _plain,
        "transposed": _transposed,
        "sliced": _sliced,
        "stepped": _stepped,
        "offset": _offset,
        "reversed": _reversed,
        "channels_last": _channels_last,
        "expanded": _expanded,
        "overlapping": _overlapping,
    }
)

OVERLAPPING = frozenset({"expanded", "overlapping"})
"""Layouts to which PyTorch refuses to write."""

KINDS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "tensor": _plain,
        "parameter": lambda made: nn.Parameter(made, requires_grad=False),
        "grad": lambda made: made.requires_grad_() if made.is_floating_point() else made,
        "subclass": lambda made: made.as_subclass(Named),
    }
)


def on_gpu(tensor: Tensor) -> Tensor:
    """The tensor on the GPU, where it lies in the same way."""
    if not tensor.numel():
        return tensor.detach().cuda().requires_grad_(tensor.requires_grad)
    whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.detach().untyped_storage())
    made = whole.cuda().as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, requires_grad=False)
    return made.as_subclass(type(tensor)).requires_grad_(tensor.requires_grad)
