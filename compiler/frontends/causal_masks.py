"""Masks of nn.Transformer: whether one is causal decides nothing but which kernel PyTorch takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.nn.modules import transformer


@contextmanager
def masks_not_compared() -> Iterator[None]:
    """While entered, nn.Transformer's layers do not compare a mask with a causal one; `is_causal` still says it is.

    They branch on the result, which torch.export cannot follow, and compute the same with the mask as without.
    """
    original = transformer._detect_is_causal_mask

    def declared(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:
        return is_causal is True

    setattr(transformer, "_detect_is_causal_mask", declared)  # noqa: B010  (mypy takes functions for final)
    try:
        yield
    finally:
        setattr(transformer, "_detect_is_causal_mask", original)  # noqa: B010
