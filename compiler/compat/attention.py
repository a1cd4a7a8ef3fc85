"""The option `decompose_attention`: attention as products and a softmax, instead of TensorRT's layer for it."""

from __future__ import annotations

import math

import torch

from ..tensorrt.plugins import Decomposition

aten = torch.ops.aten


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """What PyTorch computes where it has no kernel for all of it; rows that attend to nothing are zeros."""
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, -math.inf)
    result: torch.Tensor = aten._scaled_dot_product_attention_math.default(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )[0]
    return result


ATTENTION = Decomposition((aten.scaled_dot_product_attention.default,), _attention)
"""For the option `converters`."""
