"""Operators with fast paths of their own, of transformers in evaluation and of cells on GPUs, step by step."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F


def multi_head_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _width: int,
    heads: int,
    weight: torch.Tensor,
    bias: torch.Tensor,
    out_weight: torch.Tensor,
    out_bias: torch.Tensor,
    mask: torch.Tensor | None = None,
    need_weights: bool = True,
    average: bool = True,
    mask_type: int | None = None,
) -> tuple[torch.Tensor, Any]:
    """`aten::_native_multi_head_attention`; a mask is true, or not 0, where nothing is looked at."""
    parts = zip((query, key, value), weight.chunk(3), bias.chunk(3), strict=True)
    q, k, v = (torch.unflatten(F.linear(x, w, b), -1, (heads, -1)).transpose(1, 2) for x, w, b in parts)
    keep = None if mask is None else torch.logical_not(_for_all_heads(mask, mask_type).to(torch.bool))
    result = F.scaled_dot_product_attention(q, k, v, keep).transpose(1, 2).flatten(2)
    result = F.linear(result, out_weight, out_bias)
    if not need_weights:
        return result, None
    scores = (q * q.size(-1) ** -0.5) @ k.transpose(-2, -1)
    weights = torch.softmax(scores if keep is None else scores.masked_fill(~keep, float("-inf")), -1)
    return result, weights.mean(1) if average else weights


def transformer_encoder_layer(
    x: torch.Tensor,
    width: int,
    heads: int,
    weight: torch.Tensor,
    bias: torch.Tensor,
    out_weight: torch.Tensor,
    out_bias: torch.Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    *rest: Any,
) -> torch.Tensor:
    """`aten::_transformer_encoder_layer_fwd`."""
    *weights, mask, mask_type = rest
    first, second, inner, outer = zip(weights[::2], weights[1::2], strict=True)

    def attended(y: torch.Tensor) -> torch.Tensor:
        given = (y, y, y, width, heads, weight, bias, out_weight, out_bias, mask)
        return multi_head_attention(*given, need_weights=False, mask_type=mask_type)[0]

    def fed(y: torch.Tensor) -> torch.Tensor:
        y = F.linear(y, *inner)
        return F.linear(F.gelu(y) if use_gelu else torch.relu(y), *outer)

    if norm_first:
        x = x + attended(F.layer_norm(x, [width], *first, eps))
        return x + fed(F.layer_norm(x, [width], *second, eps))
    x = F.layer_norm(x + attended(x), [width], *first, eps)
    return F.layer_norm(x + fed(x), [width], *second, eps)


def _for_all_heads(mask: torch.Tensor, kind: int | None) -> torch.Tensor:
    """A mask of four dimensions: of kind 0 it is [queries, keys], of kind 1 [batch, keys]."""
    if mask.dim() == 2:
        return mask[:, None, None] if kind == 1 else mask[None, None]
    return mask[:, None] if mask.dim() == 3 else mask
