"""Tensors that must be in order: operators that search in them are undefined otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .samples import Sample

SEARCHING = frozenset({"bucketize", "searchsorted", "nn.functional.embedding_bag"})
"""Entries one of whose tensors must ascend: boundaries, a sorted sequence, the offsets of bags."""


def in_order(sample: Sample, resized: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The resized tensors of a sample, sorted again where the sample's own ascend."""
    tensors = list(resized)
    if sample.operator not in SEARCHING:
        return tensors
    tensors = [
        new.sort(-1).values if old.dim() and _ascends(old) else new
        for old, new in zip(sample.tensors, tensors, strict=True)
    ]
    sequence, sorter = sample.tensors[0], sample.tensors[-1]
    if sorter.dtype is torch.int64 and sorter.shape == sequence.shape and "sorter=" in sample.text:
        tensors[-1] = tensors[0].argsort(-1)
    return tensors


def _ascends(tensor: torch.Tensor) -> bool:
    return bool((tensor.diff(dim=-1) >= 0).all())
