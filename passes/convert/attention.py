"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ...compiler.call import Call
from ...compiler.symbols import dims_of
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.tensor import Tensor
from .activation import normalized_exponential
from .conditions import FLOATS, dtype_of, static_dims, value_is
from .linear import product
from .registry import Family

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("attention")

SMALLEST_HEAD = 16
"""Size of a head below which single layers compute attention. TensorRT's layer rounds the scaled query of a half, which
shows with large scores at any size; PyTorch's samples with heads of 8 set the bound, not measured speed."""


@FAMILY.converter(
    aten.scaled_dot_product_attention.default,
    conditions=[
        dtype_of("query", FLOATS),
        value_is("dropout_p", lambda p: p == 0, "0: dropout is random", "TP207"),
        static_dims("query", lambda call: [-1], "the size of a head"),
    ],
    composite=True,
)
def attention(ctx: ConverterContext, call: Call) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value; rows whose mask hides every key are zero."""
    query, key, value = (ctx.tensor(call.arg(name)) for name in ("query", "key", "value"))
    mask = _mask(ctx, call)
    compute = _fused if _fits(query, key, value) else _composed
    result = compute(ctx, call, query, key, value, mask)
    return result if mask is None or _no_hidden_row(ctx, call) else _without_hidden_rows(ctx, result, mask)


def _scaled(ctx: ConverterContext, call: Call, query: Tensor) -> Tensor:
    scale = call.value("scale")
    scale = 1 / math.sqrt(int(query.shape[-1])) if scale is None else scale
    return query if scale == 1 else ar.multiply(ctx, query, ar.operand(ctx, scale), "scale")


def _mask(ctx: ConverterContext, call: Call) -> Tensor | None:
    mask = ctx.optional(call.arg("attn_mask"))
    if mask is None or mask.dtype == torch.bool:
        return mask
    return ar.cast(ctx, mask, call.out.dtype)


def _fits(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether TensorRT's attention layer takes the operands: four dimensions, and sizes that need no broadcast."""
    if not query.rank == key.rank == value.rank == 4 or query.dtype == torch.float32:
        # TensorRT-RTX 1.6 fuses f16 and bf16 only, and crashes while it decomposes several f32 layers on the same keys.
        return False
    if int(query.shape[-1]) < SMALLEST_HEAD:
        return False
    return query.shape[0] == key.shape[0] == value.shape[0] and key.shape == value.shape


def _fused(ctx: ConverterContext, call: Call, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    kind = ctx.trt.AttentionNormalizationOp.SOFTMAX
    causal = call.value("is_causal")
    # The layer has no scale. In a half the scaled query is rounded: up to 2**-11 of every product that a score adds up.
    operands = (_scaled(ctx, call, query).trt, key.trt, value.trt, kind)
    if ctx.library.has_layer("add_attention_v2"):
        kinds = ctx.trt.CausalMaskKind
        layer = ctx.network.add_attention_v2(*operands, kinds.UPPER_LEFT if causal else kinds.NONE)
    else:
        layer = ctx.network.add_attention(*operands, causal)
    if layer is not None:
        layer.decomposable = True
        if mask is not None:
            layer.mask = _full_mask(ctx, query, key, mask).trt
    return ctx.emit(layer, dims_of(call.out.shape))


def _full_mask(ctx: ConverterContext, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """The mask with four dimensions, whose last two have their full sizes."""
    mask = shapes.with_rank(ctx, mask, 4)
    return shapes.expand(ctx, mask, (*mask.shape[:2], query.shape[-2], key.shape[-2]), "mask")


def _composed(
    ctx: ConverterContext, call: Call, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> Tensor:
    """Attention of single layers; of halves the scores and their softmax in f32, as PyTorch computes them."""
    if call.value("enable_gqa"):
        key, value = (_repeated_heads(ctx, part, query) for part in (key, value))
    query = _scaled(ctx, call, ar.cast(ctx, query, torch.float32, "query"))
    key = ar.cast(ctx, key, torch.float32, "key")
    scores = product(ctx, query, key, transposed=(False, True), role="scores")
    if call.value("is_causal"):
        scores = _causal(ctx, scores)
    if mask is not None:
        hidden = float("-inf")
        scores = (
            ar.where(ctx, mask, scores, hidden, "masked")
            if mask.dtype == torch.bool
            else ar.binary(ctx, "SUM", scores, ar.cast(ctx, mask, torch.float32, "mask"), "masked")
        )
    weights = normalized_exponential(ctx, scores, scores.rank - 1, "softmax")
    return product(ctx, ar.cast(ctx, weights, value.dtype, "weights"), value)


def _repeated_heads(ctx: ConverterContext, x: Tensor, query: Tensor) -> Tensor:
    heads = int(x.shape[-3])
    groups = int(query.shape[-3]) // heads
    if groups == 1:
        return x
    column = shapes.unsqueeze(ctx, x, -3, "group")
    wide = shapes.expand(ctx, column, (*x.shape[:-2], groups, *x.shape[-2:]), "heads")
    return shapes.reshape(ctx, wide, (*x.shape[:-3], heads * groups, *x.shape[-2:]), "heads")


def _causal(ctx: ConverterContext, scores: Tensor) -> Tensor:
    rows = shapes.unsqueeze(ctx, shapes.ramp(ctx, scores.shape[-2], role="rows"), 1, "rows")
    columns = shapes.unsqueeze(ctx, shapes.ramp(ctx, scores.shape[-1], role="columns"), 0, "columns")
    ahead = ar.compare(ctx, "GREATER", columns, rows, "ahead")
    return ar.where(ctx, ahead, float("-inf"), scores, "causal")


# --- rows without keys -----------------------------------------------------------------------------------------------
def _no_hidden_row(ctx: ConverterContext, call: Call) -> bool:
    mask = ctx.constant_value(call.arg("attn_mask"))
    if mask is None or call.value("is_causal"):
        return False
    visible = mask if mask.dtype == torch.bool else mask > float("-inf")
    return bool(visible.any(-1).all())


def _without_hidden_rows(ctx: ConverterContext, result: Tensor, mask: Tensor) -> Tensor:
    # A softmax of nothing but -inf is NaN, where PyTorch yields zeros.
    least = torch.finfo(result.dtype).min
    visible = mask if mask.dtype == torch.bool else ar.compare_or_equal(ctx, "GREATER", mask, least, "visible")
    seen = ar.any_of(ctx, visible, [-1], True)
    return ar.where(ctx, seen, result, 0.0, "seen")
