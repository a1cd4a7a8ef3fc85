"""How many bytes a value has, and how to say so."""

from __future__ import annotations

from typing import Any

import torch

from ..compiler.analysis.tensor_bytes import bytes_text

__all__ = ["bytes_text", "value_bytes"]


def value_bytes(value: Any) -> int | None:
    """Bytes of a tensor or of several; dynamic sizes count as in the example that was exported; None if not known."""
    if isinstance(value, tuple | list):
        sizes = [value_bytes(item) for item in value]
        return None if any(size is None for size in sizes) else sum(size for size in sizes if size is not None)
    if not isinstance(value, torch.Tensor):
        return None
    total = value.element_size()
    for size in value.shape:
        number = _hint(size)
        if number is None:
            return None
        total *= number
    return total


def _hint(size: int | torch.SymInt) -> int | None:
    """A size as a number: for a symbolic one that of the example, None where it depends on values of tensors."""
    if isinstance(size, int):
        return size
    return size.node.hint if size.node.has_hint() else None
