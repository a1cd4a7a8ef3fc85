"""Scaled dot-product attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, dims_of
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Family, IsConstant
from ...compiler.tensorrt.tensor import Tensor
from .activation import normalized_exponential
from .attention_mask import HIDDEN, mask_of
from .conditions import FLOATS, dtype_of, static_dims, upper_bound, value_is
from .few_queries import attention_of_few, is_of_few_queries
from .linear import product

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("attention")

SMALLEST_HEAD = 16
"""Heads of halves below this size are computed in f32: the instructions of fused attention take 16 elements, and in
single layers products of halves are rounded."""

LONG = 512
"""Keys above which kernels had better skip blocks of keys that none of their queries sees.

On an H200 an attention block with its four linear layers took 0.5 of the time with TensorRT's causal layer (which only
bfloat16 can have, see `_fits_layer`), and 0.76 with a causal mask, at 2,048 keys. With a mask it took 1.3 to 1.5 times
the time at 384 and 128 keys, where finding the blocks costs more than they do.
"""

_MARGIN = 6
"""By how many bits more than they need for the scale queries and keys are made smaller before their product.

Scores end where halves do, at 65,504, unless they are made smaller first: PyTorch's kernels hold them in float32. With
this they may reach 2.7e8, while numbers as small as 1/128 keep all their bits. It costs no kernel.
"""


def _is_causal_layer(call: Call, is_constant: IsConstant) -> bool:
    is_long = upper_bound(call.value("key").shape[-2]) > LONG
    return bool(call.value("is_causal")) and is_long and _takes_layer(call)


@FAMILY.variant("causal-layer", _is_causal_layer)
def _causal_attention(ctx: ConverterContext, call: Call) -> Tensor:
    """TensorRT's layer for causal attention of bfloat16 over more than 512 keys, which skips what the mask hides."""
    query, key, value = (ctx.tensor(call.arg(name)) for name in ("query", "key", "value"))
    return _causal_layer(ctx, call, query, key, value)


def _is_whole_layer(call: Call, is_constant: IsConstant) -> bool:
    plain = call.arg("attn_mask") is None and not call.value("is_causal") and not call.value("enable_gqa")
    return plain and _takes_layer(call) and dims_of(call.value("query").shape)[1] == dims_of(call.value("key").shape)[1]


@FAMILY.variant("layer", _is_whole_layer, default=False)
def _whole_layer(ctx: ConverterContext, call: Call) -> Tensor:
    """TensorRT's layer for attention of bfloat16 without a mask."""
    query, key, value = (ctx.tensor(call.arg(name)) for name in ("query", "key", "value"))
    kind = ctx.trt.AttentionNormalizationOp.SOFTMAX
    layer = ctx.network.add_attention(_times(ctx, query, _scale(call)).trt, key.trt, value.trt, kind, False)
    if layer is not None:
        layer.decomposable = True
    return ctx.emit(layer, dims_of(call.out.shape))


@FAMILY.variant("multiplied-and-added", is_of_few_queries)
def _few_queries(ctx: ConverterContext, call: Call) -> Tensor:
    """Attention of one token over 64 keys or more, of halves, by multiplications and sums in float32."""
    query, key, value = (ctx.tensor(call.arg(name)) for name in ("query", "key", "value"))
    mask = mask_of(ctx, call, False)
    result = attention_of_few(ctx, query, key, value, mask, _scale(call))
    result = ar.cast(ctx, result, call.out.dtype, "narrow")
    return mask.cleared(ctx, result) if mask is not None else result


def _takes_layer(call: Call) -> bool:
    query, key, value = (call.value(name) for name in ("query", "key", "value"))
    if int(query.shape[-1]) < SMALLEST_HEAD or query.dtype != torch.bfloat16:
        return False
    return _fits_layer(*(dims_of(part.shape) for part in (query, key, value)))


@FAMILY.converter(
    aten.scaled_dot_product_attention.default,
    variant="single-layers",
    conditions=[
        dtype_of("query", FLOATS),
        value_is("dropout_p", lambda p: p == 0, "0: dropout is random", "TP207"),
        static_dims("query", lambda call: [-1], "the size of a head"),
    ],
    composite=True,
)
def attention(ctx: ConverterContext, call: Call) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value in single layers; rows whose mask hides every key are zero."""
    query, key, value = (ctx.tensor(call.arg(name)) for name in ("query", "key", "value"))
    if int(query.shape[-1]) < SMALLEST_HEAD:
        query, key, value = (ar.cast(ctx, part, torch.float32, "wide") for part in (query, key, value))
    is_long = upper_bound(call.value("key").shape[-2]) > LONG
    if call.value("enable_gqa"):
        key, value = (_repeated_heads(ctx, part, query) for part in (key, value))
    mask = mask_of(ctx, call, is_long)
    scores = _scores(ctx, call, query, key)
    if call.value("is_causal"):
        # Every query sees the first key. Kernels skip blocks of keys that are hidden by -inf.
        scores = _causal(ctx, scores, float("-inf") if is_long else HIDDEN)
    if mask is not None:
        scores, value = mask.applied(ctx, scores), mask.visible(ctx, value)
    weights = ar.cast(ctx, normalized_exponential(ctx, scores, scores.rank - 1, "softmax"), value.dtype, "weights")
    result = ar.cast(ctx, product(ctx, weights, value, exact_sums=False), call.out.dtype, "narrow")
    return mask.cleared(ctx, result) if mask is not None else result


def _scale(call: Call) -> float:
    scale = call.value("scale")
    return 1 / math.sqrt(call.value("query").shape[-1]) if scale is None else scale


def _scores(ctx: ConverterContext, call: Call, query: Tensor, key: Tensor) -> Tensor:
    """query @ key.T * scale in f32, with no rounding that PyTorch does not have where TensorRT fuses the layers.

    Scaling halves by powers of two is exact, and keeps the product in their range; the rest is scaled in f32.
    """
    scale = _scale(call)
    if query.dtype == torch.float32:
        return product(ctx, _times(ctx, query, scale), key, transposed=(False, True), role="scores")
    for_query, for_key = _exact_scales(scale)
    query, key = _times(ctx, query, for_query), _times(ctx, key, for_key)
    scores = product(ctx, query, key, transposed=(False, True), role="product", exact_sums=False)
    return _times(ctx, ar.cast(ctx, scores, torch.float32, "scores"), scale / (for_query * for_key))


def _exact_scales(scale: float) -> tuple[float, float]:
    """The powers of two that queries and keys are multiplied by."""
    exponent = math.frexp(scale)[1] - 1 if isinstance(scale, float | int) and scale else 0
    exponent = min(max(exponent, -8), 0) - 2 * _MARGIN
    return 2.0 ** (exponent // 2), 2.0 ** (exponent - exponent // 2)


def _times(ctx: ConverterContext, x: Tensor, scale: float) -> Tensor:
    return x if scale == 1 else ar.multiply(ctx, x, ar.operand(ctx, scale), "scale")


# --- TensorRT's layer ------------------------------------------------------------------------------------------------
def _fits_layer(query: Sequence[Dim], key: Sequence[Dim], value: Sequence[Dim]) -> bool:
    """Whether TensorRT's attention layer takes operands of these shapes: four dimensions that need no broadcast.

    They are bfloat16. TensorRT-RTX 1.6 holds the scores of its f16 layer in f16: on an H200 their rounding was an error
    of 2 % for scores around 300, and from 65,504 on they overflowed. It crashes while it decomposes f32 layers on one
    key.
    """
    if not len(query) == len(key) == len(value) == 4:
        return False
    return query[0] == key[0] == value[0] and key == value


def _causal_layer(ctx: ConverterContext, call: Call, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The layer knows which keys are ahead without a mask. It has no scale: the query is rounded once more."""
    kind = ctx.trt.AttentionNormalizationOp.SOFTMAX
    operands = (_times(ctx, query, _scale(call)).trt, key.trt, value.trt, kind)
    if ctx.library.has_layer("add_attention_v2"):
        layer = ctx.network.add_attention_v2(*operands, ctx.trt.CausalMaskKind.UPPER_LEFT)
    else:
        layer = ctx.network.add_attention(*operands, True)
    if layer is not None:
        layer.decomposable = True
    return ctx.emit(layer, dims_of(call.out.shape))


# --- single layers ---------------------------------------------------------------------------------------------------
def _repeated_heads(ctx: ConverterContext, x: Tensor, query: Tensor) -> Tensor:
    heads = int(x.shape[-3])
    groups = int(query.shape[-3]) // heads
    if groups == 1:
        return x
    column = shapes.unsqueeze(ctx, x, -3, "group")
    wide = shapes.expand(ctx, column, (*x.shape[:-2], groups, *x.shape[-2:]), "heads")
    return shapes.reshape(ctx, wide, (*x.shape[:-3], heads * groups, *x.shape[-2:]), "heads")


def _causal(ctx: ConverterContext, scores: Tensor, hidden: float) -> Tensor:
    rows = shapes.unsqueeze(ctx, shapes.ramp(ctx, scores.shape[-2], role="rows"), 1, "rows")
    columns = shapes.unsqueeze(ctx, shapes.ramp(ctx, scores.shape[-1], role="columns"), 0, "columns")
    ahead = ar.compare(ctx, "GREATER", columns, rows, "ahead")
    return ar.where(ctx, ahead, hidden, scores, "causal")
