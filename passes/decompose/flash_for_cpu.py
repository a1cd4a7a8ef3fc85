"""Attention as PyTorch's kernel for CPUs has it, with both of its results."""

from __future__ import annotations

import torch
from torch._decomp import decomposition_table

aten = torch.ops.aten

_RULE = decomposition_table[aten._scaled_dot_product_flash_attention_for_cpu.default]


def flash_attention_for_cpu(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The attention [N, H, L, E], and the logarithm [N, H, L] of the sum over the keys of the powers of e.

    PyTorch's own rule gives the weights [N, H, L, S] for the latter.
    """
    output, _ = _RULE(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)
    wide = torch.promote_types(query.dtype, torch.float32)
    if query.size(1) != key.size(1):
        key = key.repeat_interleave(query.size(1) // key.size(1), 1)
    scores = query.to(wide) @ key.to(wide).mT
    scores = scores * (query.size(-1) ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        scores = scores + attn_mask
    if is_causal:
        rows, columns = (torch.arange(size, device=query.device) for size in scores.shape[-2:])
        scores = scores.masked_fill(columns > rows.unsqueeze(-1), -torch.inf)
    return output, scores.logsumexp(-1)
