"""Writes to caches of keys and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.operators import WRITE_ROWS
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import Tensor
from .conditions import FLOATS, dtype_of
from .indexing import gathered

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

FAMILY = Family("caches")


@FAMILY.converter(WRITE_ROWS, conditions=[dtype_of("cache", FLOATS)])
def write_rows(ctx: ConverterContext, call: Call) -> Tensor:
    """TensorRT's KV cache update in the memory of the cache, where the engine may; else a selection over all places."""
    cache, rows, start = (ctx.tensor(call.arg(name)) for name in ("cache", "rows", "start"))
    if not ctx.writes_in_place(call.node, call.arg("cache"), cache):
        return _selected(ctx, cache, rows, start)
    first = ar.cast(ctx, start, torch.int32, "places")
    places = shapes.expand(ctx, first, (cache.shape[0],), "each")
    layer = ctx.network.add_kv_cache_update(cache.trt, rows.trt, places.trt, ctx.trt.KVCacheMode.LINEAR)
    return ctx.emit(layer, cache.shape)


def _selected(ctx: ConverterContext, cache: Tensor, rows: Tensor, start: Tensor) -> Tensor:
    """A selection, rather than a scatter: that moves the whole tensor, and this can be part of what reads it."""
    count = ctx.constant(torch.arange(int(cache.shape[2])), role="count")
    place = ar.elementwise(ctx, "SUB", count, start, "place")
    zero, last = ctx.scalar(0, torch.int64, 1), shapes.reshape(ctx, ctx.scalar(rows.shape[2] - 1), (1,), "last")
    inside = ar.elementwise(ctx, "MIN", ar.elementwise(ctx, "MAX", place, zero, "least"), last, "row")
    new = gathered(ctx, rows, inside, 2)
    same = shapes.reshape(
        ctx, ar.elementwise(ctx, "EQUAL", place, inside, "written"), (1, 1, cache.shape[2], 1), "mask"
    )
    return ar.where(ctx, same, new, cache)
