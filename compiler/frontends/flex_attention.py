"""`flex_attention` as operators that a graph can hold: scores and masks are computed for all places at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from ..ir.flex_attention import attention

_MODULE = "torch.nn.attention.flex_attention"


@contextmanager
def flex_attention_in_operators() -> Iterator[None]:
    """While entered, `flex_attention` computes by operators, as it does without a compiler; nothing before its import.

    PyTorch calls its compiler for it, which cannot look at what traces the model.
    """
    module = sys.modules.get(_MODULE)
    needed = ("_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", "flex_attention_hop", "_create_empty_block_mask")
    if module is None or not all(hasattr(module, name) for name in needed):
        yield
        return
    with ExitStack() as stack:
        for name, value in zip(needed, (True, attention, _no_mask), strict=True):
            stack.enter_context(patch.object(module, name, value))
        yield


def _no_mask(query: torch.Tensor, key: torch.Tensor) -> Any:
    """What stands for the mask where none is given."""
    from torch.nn.attention import flex_attention as module

    large: int = getattr(module, "_LARGE_SPARSE_BLOCK_SIZE", 1 << 30)
    mask = SimpleNamespace(
        BLOCK_SIZE=(large, large),
        shape=(1, 1, query.shape[-2], key.shape[-2]),
        kv_num_blocks=query,
        mask_mod=None,
        as_tuple=lambda: (None,),
    )
    mask._adjust = lambda query_length, key_length: mask
    return mask
