"""Attention of a few queries, whose scores are multiplications and sums that read keys where a cache has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.dtypes import HALVES
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import IsConstant
from ...compiler.tensorrt.tensor import Tensor
from .activation import normalized_exponential
from .attention_mask import Mask
from .conditions import upper_bound
from .linear import product

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

MOST_QUERIES = 8
"""Queries for each head of keys, at most: as many as heads of queries have one head of keys in common."""

FEWEST_KEYS = 64


def is_of_few_queries(call: Call, is_constant: IsConstant) -> bool:
    """Whether attention is that of one sequence of halves, with few queries for each head of keys, and many keys."""
    query, key, value = (call.value(name) for name in ("query", "key", "value"))
    if query.dtype not in HALVES or not query.dim() == key.dim() == value.dim() == 4 or call.value("is_causal"):
        return False
    sizes = [*query.shape[:3], *key.shape[:2], *value.shape[:2]]
    if not all(isinstance(size, int) for size in sizes) or upper_bound(key.shape[2]) < FEWEST_KEYS:
        return False
    (batch, heads, rows), of_keys = query.shape[:3], key.shape[:2]
    if batch != 1 or of_keys != value.shape[:2] or of_keys[0] != 1:
        return False
    # Heads that share a head of keys are queries of it, if each has one.
    return bool(
        (heads == of_keys[1] and rows <= MOST_QUERIES)
        or (rows == 1 and heads % of_keys[1] == 0 and heads // of_keys[1] <= MOST_QUERIES)
    )


def attention_of_few(
    ctx: ConverterContext, query: Tensor, key: Tensor, value: Tensor, mask: Mask | None, scale: float
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value, [1,H,R,W], with scores and sums in float32.

    Args:
        ctx: builds the network.
        query: [1,H,R,D], or [1,G*H,1,D] for keys with fewer heads.
        key, value: [1,H,K,D] and [1,H,K,W].
        mask: for queries [1,H,R,D].
        scale: of the scores.
    """
    wide, shape = torch.float32, query.shape
    queries = shape[1] * shape[2] // int(key.shape[1])
    query = shapes.reshape(ctx, _computed_once(ctx, query), (1, key.shape[1], queries, 1, shape[3]), "queries")
    keys = shapes.unsqueeze(ctx, key, 2, "keys")
    terms = ar.elementwise(ctx, "PROD", ar.cast(ctx, query, wide, "wide"), ar.cast(ctx, keys, wide, "wide"), "terms")
    scores = ar.reduce(ctx, "SUM", terms, [4], False, "scores")
    scores = scores if scale == 1 else ar.multiply(ctx, scores, ar.operand(ctx, scale), "scale")
    if mask is not None:
        scores = mask.applied(ctx, scores)
    weights = normalized_exponential(ctx, scores, 3, "softmax")
    if mask is not None and mask.seen is not None:
        # The weights are in that kernel already, and a copy of all values would be one more.
        weights = ar.where(ctx, mask.seen, weights, 0.0, "seen")
    # Sums over keys are in the order of the memory for scores only: a product of matrices is faster here. In blocks of
    # 64 keys, and then over these, they took 13 us for 512 keys of 64 and 180 to 600 for 4,096 of 128, for 6 and 15.
    result = product(ctx, ar.cast(ctx, weights, value.dtype, "weights"), value, role="sums")
    heads = shapes.reshape(ctx, result, (*shape[:3], value.shape[3]), "heads")
    ctx.apart[heads.trt.name] = heads  # a product of matrices is a kernel's end
    return heads


def _computed_once(ctx: ConverterContext, query: Tensor) -> Tensor:
    """The same queries, which are not computed again for every key: a largest element of one ends a kernel.

    A sum of one does too, but then rotations and writes to the cache before it are kernels of their own.
    """
    layer = ctx.network.add_topk(query.trt, ctx.trt.TopKOperation.MAX, 1, 1)
    return ctx.emit(layer, query.shape, "apart")
