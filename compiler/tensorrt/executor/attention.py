"""Attention and rotary embedding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .call import Call, Handler


def attention(call: Call) -> tuple[Tensor, ...]:
    """softmax(Q K^T + mask) V for Q [B, H, S, D] and K, V [B, H_kv, T, D]; H is a multiple of H_kv.

    TensorRT does not scale by 1 / sqrt(D): the network scales the query itself.
    """
    _refuse_unsupported(call)
    query, key, value = call.wide(0), call.wide(1), call.wide(2)
    if query.shape[1] % key.shape[1]:
        raise call.error(f"{query.shape[1]} query heads are not a multiple of {key.shape[1]} key heads")
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = query @ key.transpose(-1, -2)
    allowed = _causal_mask(call, scores.shape[-2], scores.shape[-1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    mask = call.optional(3)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask.float()
    if call.handle.norm_op.name == "SOFTMAX":
        scores = _normalized(scores, call.output_dtypes[0])
    return (scores @ value,)


def _normalized(scores: Tensor, dtype: torch.dtype) -> Tensor:
    """Softmax in f32, rounded to the type of the operands because it is one of the second product.

    A query that may attend to nothing gets zeros from the fused f16 and bf16 kernels, but the NaN of a softmax over
    nothing from f32 attention, which is decomposed (measured on TensorRT-RTX 1.6).
    """
    probabilities = torch.softmax(scores, -1)
    if dtype != torch.float32:
        nothing = (scores == float("-inf")).all(-1, keepdim=True)
        probabilities = probabilities.masked_fill(nothing, 0.0)
    return probabilities.to(dtype).float()


def _refuse_unsupported(call: Call) -> None:
    handle = call.handle
    for form in ("query_form", "key_value_form"):
        # Releases without the attribute have the padded form only.
        if hasattr(handle, form) and getattr(handle, form).name != "PADDED_BHND":
            raise call.error(f"{form} {getattr(handle, form).name} is not supported by the reference executor")
    for name in ("normalization_quantize_scale", "key_value_lengths"):
        if getattr(handle, name, None) is not None:
            raise call.error(f"{name} is not supported by the reference executor")


def _causal_mask(call: Call, queries: int, keys: int) -> Tensor | None:
    # TensorRT 10 has the flag only.
    legacy = "UPPER_LEFT" if call.handle.causal else "NONE"
    kind = call.handle.causal_kind.name if hasattr(call.handle, "causal_kind") else legacy
    if kind == "NONE":
        return None
    offset = keys - queries if kind == "LOWER_RIGHT" else 0
    return torch.ones(queries, keys, dtype=torch.bool, device=call.device).tril(offset)


def rotary_embedding(call: Call) -> tuple[Tensor, ...]:
    """Rotates pairs of the first `rotary_embedding_dim` elements (all where it is 0) of x [B, H, S, D].

    The caches are [positions, R / 2] with position ids [B, S], else [B, S, R / 2]. A pair is two neighbours when
    interleaved, else an element of the first half and its counterpart of the second.
    """
    x, cos, sin, positions = call.wide(0), call.wide(1), call.wide(2), call.optional(3)
    if positions is not None:
        cos, sin = cos[positions.long()], sin[positions.long()]
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    width = call.handle.rotary_embedding_dim or x.shape[-1]
    rotated, rest = x[..., :width], x[..., width:]
    if call.handle.interleaved:
        first, second = rotated[..., 0::2], rotated[..., 1::2]
    else:
        first, second = rotated.chunk(2, -1)
    real, imaginary = first * cos - second * sin, first * sin + second * cos
    if call.handle.interleaved:
        rotated = torch.stack((real, imaginary), -1).flatten(-2)
    else:
        rotated = torch.cat((real, imaginary), -1)
    return (torch.cat((rotated, rest), -1),)


HANDLERS: Mapping[str, Handler] = {"ATTENTION": attention, "ROTARY_EMBEDDING": rotary_embedding}
