"""Orders of equal values: unless it is asked to be stable, sorting may put them either way."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

UNSTABLE = frozenset({"sort", "argsort", "topk", "kthvalue"})
"""Entries whose results are positions in the first tensor, in the order of its values, or of one of them."""


def settled(values: torch.Tensor, actual: Any, expected: Any) -> Any:
    """`actual` with those positions replaced by the expected ones that differ only in the order of equal values."""
    got, spec = pytree.tree_flatten(actual)
    want = pytree.tree_leaves(expected)
    if len(got) != len(want):
        return actual
    return pytree.tree_unflatten(
        [right if _same_order(values, left, right) else left for left, right in zip(got, want, strict=True)], spec
    )


def _same_order(values: torch.Tensor, actual: Any, expected: Any) -> bool:
    if not all(isinstance(item, torch.Tensor) and item.dtype is torch.int64 for item in (actual, expected)):
        return False
    if actual.shape != expected.shape or not values.dim():
        return False
    if actual.dim() == values.dim() - 1:
        dims = [dim for dim in range(values.dim()) if values.select(dim, 0).shape == actual.shape]
        return any(_picks_equals(values, actual.unsqueeze(dim), expected.unsqueeze(dim), dim) for dim in dims)
    if actual.dim() != values.dim():
        return False
    return any(_picks_equals(values, actual, expected, dim) for dim in range(values.dim()))


def _picks_equals(values: torch.Tensor, actual: torch.Tensor, expected: torch.Tensor, dim: int) -> bool:
    size = values.shape[dim]
    if any(item.numel() and (item.min() < 0 or item.max() >= size) for item in (actual, expected)):
        return False
    if (actual.sort(dim).values.diff(dim=dim) == 0).any():
        return False
    picked, wanted = (values.gather(dim, item) for item in (actual, expected))
    ascending = wanted.sort(dim).values
    is_sorted = torch.equal(wanted.nan_to_num(), ascending.nan_to_num()) or torch.equal(
        wanted.nan_to_num(), ascending.flip(dim).nan_to_num()
    )
    return is_sorted and torch.allclose(picked.double(), wanted.double(), rtol=0, atol=0, equal_nan=True)
