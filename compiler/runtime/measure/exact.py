"""Calls of operators in float64: what a node would compute without roundings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32})
_READS_BITS = frozenset({torch.ops.aten.view.dtype})
"""Operators to which a data type says how to read memory, not how to compute."""


def widened(value: Any) -> Any:
    """A value with its floats in float64, lists and tuples with theirs."""
    return pytree.tree_map(_wide, value)


def _wide(leaf: Any) -> Any:
    return leaf.to(torch.float64) if isinstance(leaf, torch.Tensor) and leaf.dtype in FLOATS else leaf


def exact_call(target: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], found: Any) -> Any:
    """What a call gives on wide arguments, with types of floats in its arguments read as float64.

    Args:
        target: an operator, or a function on sizes.
        args, kwargs: its arguments, floats in float64.
        found: what it gave on the arguments as they are; where it has no float64, that counts as exact.
    """
    if target in _READS_BITS:
        return widened(found)
    try:
        return widened(target(*_retyped(args), **_retyped(dict(kwargs))))
    except Exception:  # an operator that knows no float64 says so in its own way
        return widened(found)


def _retyped(arguments: Any) -> Any:
    return pytree.tree_map(_retyped_leaf, arguments)


def _retyped_leaf(leaf: Any) -> Any:
    return torch.float64 if isinstance(leaf, torch.dtype) and leaf in FLOATS else leaf
