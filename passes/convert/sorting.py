"""Order: sort, top-k, and the statistics that are read off sorted elements.

TensorRT's top-k layer puts at most 3840 elements in order. Longer dimensions go through a sorting network of
compare-and-exchange steps, which one loop runs through, so the TensorRT network stays small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.loops import Loop
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import Tensor, is_float
from .conditions import MAX_WORK, largest, limited_work

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("sorting")

MAX_K = 3840
"""The most elements that TensorRT's top-k layer selects."""


def _size(call: Call) -> Any:
    x = call.value("self")
    if "dim" not in call.args:
        return x.numel()
    return x.shape[call.value("dim")] if x.dim() else 1


def _too_long(call: Call) -> str | None:
    size = largest(_size(call))
    if size <= MAX_WORK:
        return None
    return f"{call.op}: the sorted dimension has up to {size} elements, but at most {MAX_WORK} are sorted"


_SORTABLE = Condition("TP205", f"the sorted dimension has at most {MAX_WORK} elements", _too_long)


# --- top-k -----------------------------------------------------------------------------------------------------------
def selected(
    ctx: ConverterContext, operation: str, x: Tensor, dim: int, k: Dim, *, nan_greatest: bool = True
) -> tuple[Tensor, Tensor]:
    """The k greatest ("MAX") or least ("MIN") elements of a dimension in order, and their indices as int64.

    Of equal elements the first comes first. A NaN counts as greater than everything, or as less. k is at most `MAX_K`.
    """
    axis = x.axis(dim)
    key = sort_key(ctx, x, nan_greatest=nan_greatest)
    values, indices = _top(ctx, operation, key, axis, k)
    indices = ar.cast(ctx, indices, torch.int64)
    return (values if key is x else _picked(ctx, x, indices, axis)), indices


def _top(ctx: ConverterContext, operation: str, x: Tensor, axis: int, k: Dim) -> tuple[Tensor, Tensor]:
    if x.rank == 1:
        # TensorRT's top-k layer wants at least two dimensions.
        values, indices = _top(ctx, operation, shapes.unsqueeze(ctx, x, 0, "rank"), 1, k)
        return shapes.squeeze(ctx, values, [0], "shape"), shapes.squeeze(ctx, indices, [0], "shape")
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    kind = getattr(ctx.trt.TopKOperation, operation)
    layer = ctx.network.add_topk(x.trt, kind, k if isinstance(k, int) else 1, 1 << axis)
    if layer is not None and not isinstance(k, int):
        layer.set_input(1, shapes.reshape(ctx, ctx.sizes.tensor(k), (), "k").trt)
    ctx.enter(layer, "")
    return ctx.output(layer, 0, shape), ctx.output(layer, 1, shape)


def sort_key(ctx: ConverterContext, x: Tensor, *, nan_greatest: bool = True) -> Tensor:
    """A tensor without NaN, of a type that TensorRT compares, in whose order PyTorch sorts `x`.

    NaNs, which are to be the greatest (or least), become infinities, and infinities the greatest finite f32. Halves
    never reach that; in f32, infinity and that number count as equal.
    """
    if x.dtype == torch.bool:
        return ar.cast(ctx, x, torch.int32, "key")
    if not is_float(x.dtype):
        return x
    wide = ar.cast(ctx, x, torch.float32, "wide")
    limit = torch.finfo(torch.float32).max * (1 if nan_greatest else -1)
    bounded = ar.binary(ctx, "MIN" if nan_greatest else "MAX", wide, limit, "bounded")
    beyond = float("inf") if nan_greatest else float("-inf")
    return ar.where(ctx, ar.unary(ctx, "ISNAN", wide, "isnan"), beyond, bounded, "key")


def _picked(ctx: ConverterContext, x: Tensor, indices: Tensor, axis: int, role: str = "values") -> Tensor:
    """The element of a dimension at the place that `indices` has for each result."""
    layer = ctx.network.add_gather_v2(x.trt, indices.trt, ctx.trt.GatherMode.ELEMENT)
    layer.axis = axis
    return ctx.emit(layer, indices.shape, role)


# --- the sorting network ---------------------------------------------------------------------------------------------
def _steps(width: int) -> tuple[list[int], list[bool]]:
    """The steps of a bitonic sorting network in which the lower of two places always gets the earlier element.

    Elements are exchanged within blocks: with their mirror image in the first step of a stage, then with those half a
    block away. Batcher, "Sorting networks and their applications" (1968), in the form without alternating directions.
    """
    blocks, mirrored, stage = [], [], 2
    while stage <= width:
        block = stage
        while block >= 2:
            blocks.append(block)
            mirrored.append(block == stage)
            block //= 2
        stage *= 2
    return blocks, mirrored


def _network_order(ctx: ConverterContext, key: Tensor, most: int, descending: bool) -> Tensor:
    """The places of the elements of the last dimension in order, equal ones in their own; as int32.

    Args:
        key: without NaN.
        most: what the size of the last dimension never exceeds.
    """
    width = max(2, 1 << (most - 1).bit_length())
    size = key.shape[-1]
    last = _first_or_last(key.dtype, greatest=not descending)
    after = [0] * (key.rank - 1) + [simplified(width - size)]
    key = shapes.pad(ctx, key, [0] * key.rank, after, ctx.scalar(last, key.dtype), role="padded")
    own = ar.cast(ctx, shapes.ramp(ctx, width), torch.int32, "own")
    places = shapes.expand(ctx, own, key.shape, "places")
    blocks, mirrored = _steps(width)
    loop = Loop(ctx, len(blocks))
    block = loop.element(ctx.constant(torch.tensor(blocks, dtype=torch.int32).reshape(-1, 1), "blocks"))
    mirror = loop.element(ctx.constant(torch.tensor(mirrored).reshape(-1, 1), "mirrored"))
    partner = _partner(ctx, own, block, mirror)
    ours, here = loop.carried(key, "key"), loop.carried(places, "place")
    theirs, there = (_along_last(ctx, state, partner) for state in (ours, here))
    sooner = ar.elementwise(ctx, "GREATER" if descending else "LESS", theirs, ours, "sooner")
    equal = ar.elementwise(ctx, "EQUAL", theirs, ours, "equal")
    tie = ar.elementwise(ctx, "AND", equal, ar.elementwise(ctx, "LESS", there, here, "nearer"), "tie")
    before = ar.elementwise(ctx, "OR", sooner, tie, "before")
    lower = shapes.with_rank(ctx, ar.elementwise(ctx, "LESS", own, partner, "lower"), key.rank)
    exchange = ar.elementwise(ctx, "EQUAL", before, lower, "exchange")
    loop.carry(ours, ar.where(ctx, exchange, theirs, ours, "key"))
    loop.carry(here, ar.where(ctx, exchange, there, here, "place"))
    return shapes.slice_axis(ctx, loop.last(here), -1, 0, size, role="order")


def _partner(ctx: ConverterContext, own: Tensor, block: Tensor, mirror: Tensor) -> Tensor:
    """For every place the one that it is compared with."""
    start = ar.elementwise(ctx, "PROD", ar.elementwise(ctx, "FLOOR_DIV", own, block, "number"), block, "start")
    inside = ar.elementwise(ctx, "SUB", own, start, "inside")
    last = ar.binary(ctx, "SUB", block, ctx.scalar(1, torch.int32, 1), "last")
    mirrored = ar.elementwise(ctx, "SUB", last, inside, "mirrored")
    half = ar.elementwise(ctx, "FLOOR_DIV", block, ctx.scalar(2, torch.int32, 1), "half")
    upper = ar.elementwise(ctx, "LESS", inside, half, "first_half")
    shifted = ar.where(
        ctx,
        upper,
        ar.elementwise(ctx, "SUM", inside, half, "forward"),
        ar.elementwise(ctx, "SUB", inside, half, "backward"),
        "shifted",
    )
    return ar.elementwise(ctx, "SUM", start, ar.where(ctx, mirror, mirrored, shifted, "other"), "partner")


def _along_last(ctx: ConverterContext, x: Tensor, places: Tensor) -> Tensor:
    return ctx.emit(ctx.network.add_gather(x.trt, places.trt, x.rank - 1), x.shape, "partner")


def _first_or_last(dtype: torch.dtype, greatest: bool) -> float:
    if is_float(dtype):
        return float("inf") if greatest else float("-inf")
    limits = torch.iinfo(dtype)
    return limits.max if greatest else limits.min


def ordered(ctx: ConverterContext, x: Tensor, axis: int, most: int, descending: bool) -> tuple[Tensor, Tensor]:
    """All elements of a dimension in order, and their indices; a stable order, NaN is greater than everything.

    `most` is what the size of the dimension never exceeds.
    """
    if most <= MAX_K:
        return selected(ctx, "MAX" if descending else "MIN", x, axis, x.shape[axis])
    key = shapes.swap(ctx, sort_key(ctx, x), axis, -1, "last")
    places = ar.cast(ctx, _network_order(ctx, key, most, descending), torch.int64)
    indices = shapes.swap(ctx, places, axis, -1, "indices")
    return _picked(ctx, x, indices, axis), indices


# --- operators -------------------------------------------------------------------------------------------------------
@FAMILY.converter(aten.sort.default, aten.sort.stable, conditions=[_SORTABLE])
def sort(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The elements of a dimension in order, and their indices; equal elements keep theirs."""
    x = ctx.tensor(call.arg("self"))
    if not x.rank:
        return x, ctx.scalar(0, torch.int64)
    return ordered(ctx, x, x.axis(call.value("dim")), largest(_size(call)), call.value("descending"))


def _selects_too_many(call: Call) -> str | None:
    return _too_long(call) if largest(call.value("k")) > MAX_K else None


@FAMILY.converter(
    aten.topk.default,
    conditions=[Condition("TP205", f"k is at most {MAX_K}, or the dimension at most {MAX_WORK}", _selects_too_many)],
)
def topk(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The k greatest (or least) elements of a dimension, and their indices."""
    x = ctx.tensor(call.arg("self"))
    if not x.rank:
        return x, ctx.scalar(0, torch.int64)
    return _first(ctx, call, x, bool(call.value("largest")))


@FAMILY.converter(
    aten.kthvalue.default,
    conditions=[Condition("TP205", f"k is at most {MAX_K}, or the dimension at most {MAX_WORK}", _selects_too_many)],
)
def kth_value(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The k-th least element of a dimension, and its index."""
    x, k = ctx.tensor(call.arg("self")), shapes.size_of(call.value("k"))
    if not x.rank:
        return x, ctx.scalar(0, torch.int64)
    axis, last = x.axis(call.value("dim")), simplified(k - 1)
    values, indices = (
        shapes.slice_axis(ctx, part, axis, last, 1, role="last") for part in _first(ctx, call, x, greatest=False)
    )
    return _kept(ctx, values, axis, call.value("keepdim")), _kept(ctx, indices, axis, call.value("keepdim"))


def _first(ctx: ConverterContext, call: Call, x: Tensor, greatest: bool) -> tuple[Tensor, Tensor]:
    k, axis = shapes.size_of(call.value("k")), x.axis(call.value("dim"))
    if largest(call.value("k")) <= MAX_K:
        return selected(ctx, "MAX" if greatest else "MIN", x, axis, k)
    values, indices = ordered(ctx, x, axis, largest(_size(call)), greatest)
    return shapes.slice_axis(ctx, values, axis, 0, k, role="first"), shapes.slice_axis(ctx, indices, axis, 0, k)


@FAMILY.converter(aten.median.dim, aten.nanmedian.dim, conditions=[_SORTABLE])
def median(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The median (of two middle elements the lesser) and its index; NaN counts if the operator is not `nanmedian`."""
    x, keepdim = ctx.tensor(call.arg("self")), call.value("keepdim")
    if not x.rank:
        return x, ctx.scalar(0, torch.int64)
    axis = x.axis(call.value("dim"))
    values, indices = _median(ctx, x, axis, largest(_size(call)), call.target is aten.nanmedian.dim)
    return _kept(ctx, values, axis, keepdim), _kept(ctx, indices, axis, keepdim)


@FAMILY.converter(aten.median.default, aten.nanmedian.default, conditions=[_SORTABLE])
def median_of_all(ctx: ConverterContext, call: Call) -> Tensor:
    """The median of all elements."""
    flat = shapes.flatten(ctx, ctx.tensor(call.arg("self")), role="flat")
    values, _ = _median(ctx, flat, 0, largest(_size(call)), call.target is aten.nanmedian.default)
    return shapes.reshape(ctx, values, (), "shape")


def _median(ctx: ConverterContext, x: Tensor, axis: int, most: int, without_nan: bool) -> tuple[Tensor, Tensor]:
    """The median along a dimension, which is kept, and its index."""
    values, indices = ordered(ctx, x, axis, most, descending=False)
    size = x.shape[axis]
    if not is_float(x.dtype):
        middle = (size - 1) // 2
        return tuple(shapes.slice_axis(ctx, part, axis, middle, 1, role="middle") for part in (values, indices))  # type: ignore[return-value]
    missing = ar.cast(ctx, ar.unary(ctx, "ISNAN", x, "isnan"), torch.int64)
    missing = ar.reduce(ctx, "SUM", missing, [axis], True, "missing")
    present = ar.binary(ctx, "SUB", _number(ctx, size), missing, "present")
    counted = present if without_nan else _number(ctx, size)
    place = ar.floor_divide(ctx, *ar.pair(ctx, ar.binary(ctx, "SUB", counted, 1, "last"), 2), "middle")
    if without_nan:
        place = ar.clamp(ctx, place, 0, None, "place")
    else:
        # The first NaN stands behind all numbers.
        place = ar.where(ctx, ar.compare(ctx, "GREATER", missing, 0, "any"), present, place, "place")
    return _picked(ctx, values, place, axis), _picked(ctx, indices, place, axis, "indices")


def _number(ctx: ConverterContext, size: Dim) -> Tensor:
    """A size as a 0-d int64."""
    if isinstance(size, int):
        return ctx.scalar(size, torch.int64)
    return shapes.reshape(ctx, ctx.sizes.tensor(size), (), "size")


def _kept(ctx: ConverterContext, x: Tensor, axis: int, keepdim: bool) -> Tensor:
    return x if keepdim else shapes.squeeze(ctx, x, [axis], "shape")


@FAMILY.converter(
    aten.mode.default,
    conditions=[limited_work("the comparison of all pairs", lambda call: [call.value("self").numel(), _size(call)])],
)
def mode(ctx: ConverterContext, call: Call) -> tuple[Tensor, Tensor]:
    """The most frequent element of a dimension (of several the least) and the index of its last occurrence."""
    x, keepdim = ctx.tensor(call.arg("self")), call.value("keepdim")
    if not x.rank:
        return x, ctx.scalar(0, torch.int64)
    axis = x.axis(call.value("dim"))
    key = shapes.swap(ctx, sort_key(ctx, x), axis, -1, "key")
    pairs = ar.elementwise(
        ctx, "EQUAL", shapes.unsqueeze(ctx, key, -1, "left"), shapes.unsqueeze(ctx, key, -2, "right"), "equal"
    )
    counts = ar.reduce(ctx, "SUM", ar.cast(ctx, pairs, torch.int32), [-1], False, "counts")
    most = ar.reduce(ctx, "MAX", counts, [-1], True, "most")
    frequent = ar.elementwise(ctx, "EQUAL", counts, most, "frequent")
    never = _first_or_last(key.dtype, greatest=True)
    least = ar.reduce(ctx, "MIN", ar.where(ctx, frequent, key, never, "candidates"), [-1], True, "least")
    chosen = ar.elementwise(ctx, "AND", frequent, ar.elementwise(ctx, "EQUAL", key, least, "is_least"), "chosen")
    ramp = shapes.with_rank(ctx, shapes.ramp(ctx, key.shape[-1]), key.rank)
    place = ar.reduce(ctx, "MAX", ar.where(ctx, chosen, ramp, -1, "places"), [-1], True, "place")
    indices = shapes.swap(ctx, place, axis, -1, "indices")
    return _kept(ctx, _picked(ctx, x, indices, axis), axis, keepdim), _kept(ctx, indices, axis, keepdim)
