"""Decompositions that compute halves in float32, as the kernels of the operators do that they stand for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ...compiler.ir.dtypes import HALVES


def in_float32(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A decomposition whose halves are cast before it, and its results after it, to the type that they all had."""

    @functools.wraps(rule)
    def wide(*args: Any, **kwargs: Any) -> Any:
        leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        halves = {leaf.dtype for leaf in leaves} & HALVES
        if not halves or any(leaf.dtype == torch.float32 for leaf in leaves):
            return rule(*args, **kwargs)
        dtype = next(leaf.dtype for leaf in leaves if leaf.dtype in halves)
        args, kwargs = pytree.tree_map_only(torch.Tensor, _wide, (args, kwargs))
        result = rule(*args, **kwargs)
        return pytree.tree_map_only(
            torch.Tensor, lambda item: item.to(dtype) if item.dtype == torch.float32 else item, result
        )

    return wide


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in HALVES else tensor
