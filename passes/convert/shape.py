"""Changes of shape and order, slices, joins, repeats, padding, casts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sympy
import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, at_least, dims_of, expression, product, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import MAX_RANK, Tensor

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("shape")


# --- the same elements -----------------------------------------------------------------------------------------------
@FAMILY.converter(
    aten.alias.default,
    aten.clone.default,
    aten.detach.default,
    aten.contiguous.default,
    aten.lift_fresh_copy.default,
    aten.lift_fresh.default,
    aten.positive.default,
)
def same(ctx: ConverterContext, call: Call) -> Tensor:
    """The tensor itself."""
    return ctx.tensor(next(iter(call.args.values())))


@FAMILY.converter(aten._to_copy.default, aten.to.dtype, aten.to.dtype_layout, aten.to.device, aten.type_as.default)
def convert(ctx: ConverterContext, call: Call) -> Tensor:
    """The tensor in another dtype."""
    return ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype, "")


@FAMILY.converter(aten.copy.default)
def copy(ctx: ConverterContext, call: Call) -> Tensor:
    """The source, in the dtype and shape of self."""
    return shapes.expand(ctx, ar.cast(ctx, ctx.tensor(call.arg("src")), call.out.dtype), dims_of(call.out.shape))


@FAMILY.converter(
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.flatten.using_ints,
    aten._reshape_alias.default,
    aten.view_copy.default,
)
def reshape(ctx: ConverterContext, call: Call) -> Tensor:
    """The same elements in the shape that the exporter found."""
    return shapes.reshape(ctx, ctx.tensor(call.arg("self")), dims_of(call.out.shape))


@FAMILY.converter(aten.unflatten.int, aten.pixel_shuffle.default, aten.pixel_unshuffle.default, composite=True)
def regroup(ctx: ConverterContext, call: Call) -> Tensor:
    """Split a dimension, or move elements between channels and space."""
    x, shape = ctx.tensor(call.arg("self")), dims_of(call.out.shape)
    if call.target is aten.unflatten.int:
        return shapes.reshape(ctx, x, shape)
    lead = x.shape[:-3]
    depth = len(lead)
    if call.target is aten.pixel_shuffle.default:
        factor = call.value("upscale_factor")
        split = (*lead, shape[-3], factor, factor, *x.shape[-2:])
        order = (0, 3, 1, 4, 2)
    else:
        factor = call.value("downscale_factor")
        split = (*x.shape[:-2], shape[-2], factor, shape[-1], factor)
        order = (0, 2, 4, 1, 3)
    parts = shapes.reshape(ctx, x, split, "split")
    moved = shapes.permute(ctx, parts, (*range(depth), *(depth + axis for axis in order)), "move")
    return shapes.reshape(ctx, moved, shape)


# --- order -----------------------------------------------------------------------------------------------------------
@FAMILY.converter(aten.permute.default, aten.permute_copy.default)
def permute(ctx: ConverterContext, call: Call) -> Tensor:
    """Dimensions in another order."""
    return shapes.permute(ctx, ctx.tensor(call.arg("self")), call.value("dims"))


@FAMILY.converter(aten.transpose.int)
def transpose(ctx: ConverterContext, call: Call) -> Tensor:
    """Two dimensions exchanged."""
    return shapes.swap(ctx, ctx.tensor(call.arg("self")), call.value("dim0"), call.value("dim1"))


@FAMILY.converter(aten.t.default)
def t(ctx: ConverterContext, call: Call) -> Tensor:
    """The transpose of a matrix; of a vector itself."""
    x = ctx.tensor(call.arg("self"))
    return shapes.swap(ctx, x, 0, 1) if x.rank == 2 else x


@FAMILY.converter(aten.flip.default)
def flip(ctx: ConverterContext, call: Call) -> Tensor:
    """The elements along some dimensions in reverse order."""
    return shapes.flip(ctx, ctx.tensor(call.arg("self")), call.value("dims"))


@FAMILY.converter(aten.roll.default, composite=True)
def roll(ctx: ConverterContext, call: Call) -> Tensor:
    """The elements along some dimensions moved on, the last ones to the front."""
    x = ctx.tensor(call.arg("self"))
    shifts, dims = call.value("shifts"), call.value("dims")
    if not x.rank:
        return x
    result = x if dims else shapes.flatten(ctx, x, role="flat")
    for shift, dim in zip(shifts, dims or [0], strict=True):
        size = result.shape[result.axis(dim)]
        start = _modulo(-expression(shift), size)
        front = shapes.slice_axis(ctx, result, dim, start, simplified(size - start), role="front")
        back = shapes.slice_axis(ctx, result, dim, 0, start, role="back")
        result = shapes.concatenate(ctx, [front, back], dim, "join")
    return shapes.reshape(ctx, result, x.shape)


def _modulo(value: Dim, size: Dim) -> Dim:
    if isinstance(value, int) and isinstance(size, int):
        return value % size if size else 0
    from torch.utils._sympy.functions import PythonMod

    return simplified(PythonMod(sympy.sympify(value), sympy.sympify(size)))


# --- parts -----------------------------------------------------------------------------------------------------------
@FAMILY.converter(aten.slice.Tensor)
def slice_(ctx: ConverterContext, call: Call) -> Tensor:
    """Every step-th element of a dimension, from start up to end."""
    x, dim, step = ctx.tensor(call.arg("self")), call.value("dim"), call.value("step")
    axis = x.axis(dim)
    start = shapes.slice_start(ctx, call.value("start"), x.shape[axis])
    return shapes.slice_axis(ctx, x, axis, start, dims_of(call.out.shape)[axis], step)


@FAMILY.converter(aten.narrow.default, aten.narrow_copy.default, composite=True)
def narrow(ctx: ConverterContext, call: Call) -> Tensor:
    """`length` elements of a dimension."""
    x = ctx.tensor(call.arg("self"))
    axis = x.axis(call.value("dim"))
    start = shapes.slice_start(ctx, call.value("start"), x.shape[axis])
    return shapes.slice_axis(ctx, x, axis, start, shapes.size_of(call.value("length")))


@FAMILY.converter(aten.select.int)
def select(ctx: ConverterContext, call: Call) -> Tensor:
    """One element of a dimension, which disappears."""
    x = ctx.tensor(call.arg("self"))
    return shapes.select_index(ctx, x, call.value("dim"), shapes.size_of(call.value("index")))


@FAMILY.converter(aten.unsafe_chunk.default, composite=True)
@FAMILY.converter(
    aten.split.Tensor, aten.split.sizes, aten.split_with_sizes.default, aten.chunk.default, aten.tensor_split.sections
)
def split(ctx: ConverterContext, call: Call) -> tuple[Tensor, ...]:
    """Pieces of a dimension, of the sizes that the exporter found."""
    x = ctx.tensor(call.arg("self"))
    axis = x.axis(call.value("dim"))
    pieces, start = [], 0
    for index, out in enumerate(call.out):
        size = dims_of(out.shape)[axis]
        pieces.append(shapes.slice_axis(ctx, x, axis, start, size, role="" if index == 0 else str(index)))
        start = simplified(start + size)
    return tuple(pieces)


@FAMILY.converter(aten.unbind.int, aten.unbind_copy.int)
def unbind(ctx: ConverterContext, call: Call) -> tuple[Tensor, ...]:
    """The elements of a dimension as tensors."""
    x, dim = ctx.tensor(call.arg("self")), call.value("dim")
    return tuple(shapes.select_index(ctx, x, dim, index) for index in range(len(call.out)))


@FAMILY.converter(aten.unfold.default, composite=True)
def unfold(ctx: ConverterContext, call: Call) -> Tensor:
    """Windows over a dimension: their number stays in its place, their elements come last."""
    x, size, step = ctx.tensor(call.arg("self")), call.value("size"), call.value("step")
    if not x.rank:
        return shapes.reshape(ctx, x, (1,))
    axis, count = x.axis(call.value("dimension")), dims_of(call.out.shape)
    starts = shapes.unsqueeze(ctx, shapes.ramp(ctx, count[axis], 0, step, "starts"), 1, "starts")
    places = ar.add(ctx, starts, shapes.ramp(ctx, size, role="offsets"), "places")
    layer = ctx.network.add_gather(x.trt, places.trt, axis)
    windows = ctx.emit(layer, (*x.shape[:axis], count[axis], size, *x.shape[axis + 1 :]))
    order = [dim for dim in range(windows.rank) if dim != axis + 1] + [axis + 1]
    return shapes.permute(ctx, windows, order, "move")


# --- joins and repeats -----------------------------------------------------------------------------------------------
@FAMILY.converter(aten.cat.default, aten.concat.default)
def cat(ctx: ConverterContext, call: Call) -> Tensor:
    """Tensors one behind the other; empty 1-d tensors count for nothing, as they always have."""
    parts = [ctx.tensor(part) for part in call.arg("tensors")]
    rank = call.out.dim()
    parts = [ar.cast(ctx, part, call.out.dtype) for part in parts if part.rank == rank] or parts
    return shapes.concatenate(ctx, parts, call.value("dim"))


@FAMILY.converter(aten.stack.default)
def stack(ctx: ConverterContext, call: Call) -> Tensor:
    """Tensors side by side along a new dimension."""
    dim = call.value("dim") % call.out.dim()
    parts = [ar.cast(ctx, ctx.tensor(part), call.out.dtype) for part in call.arg("tensors")]
    return shapes.concatenate(ctx, [shapes.unsqueeze(ctx, part, dim, "new") for part in parts], dim)


@FAMILY.converter(aten.expand.default, aten.expand_as.default, aten.broadcast_to.default)
def expand(ctx: ConverterContext, call: Call) -> Tensor:
    """Broadcast to a shape."""
    return shapes.expand(ctx, ctx.tensor(call.arg("self")), dims_of(call.out.shape))


@FAMILY.converter(aten.repeat.default, aten.tile.default)
def repeat(ctx: ConverterContext, call: Call) -> Tensor:
    """The tensor several times along each dimension."""
    x, shape = ctx.tensor(call.arg("self")), dims_of(call.out.shape)
    counts = call.args.get("repeats", call.args.get("dims"))
    counts = [1] * (len(shape) - len(counts)) + [shapes.size_of(count) for count in _values(counts)]
    x = shapes.with_rank(ctx, x, len(shape))
    return repeated(ctx, x, counts, shape)


def repeated(ctx: ConverterContext, x: Tensor, counts: Sequence[Dim], shape: Sequence[Dim]) -> Tensor:
    """The tensor `counts[i]` times along dimension i: [a, b] as [1, a, 1, b], expanded, as [n*a, m*b]."""
    if all(count == 1 for count in counts):
        return x
    moved = [axis for axis, count in enumerate(counts) if count != 1]
    if all(x.shape[axis] == 1 for axis in moved):
        return shapes.expand(ctx, x, shape)
    if len(counts) + len(moved) > MAX_RANK:
        for axis in moved:
            x = _multiplied(ctx, x, axis, counts[axis], whole=True)
        return shapes.reshape(ctx, x, shape)
    spread: list[Dim] = []
    wide: list[Dim] = []
    for size, count in zip(x.shape, counts, strict=True):
        spread += [size] if count == 1 else [1, size]
        wide += [size] if count == 1 else [count, size]
    parts = shapes.expand(ctx, shapes.reshape(ctx, x, spread, "spread"), wide, "expand")
    return shapes.reshape(ctx, parts, shape)


def _multiplied(ctx: ConverterContext, x: Tensor, axis: int, count: Dim, *, whole: bool) -> Tensor:
    """One dimension `count` times: as a whole (a b a b), or each element (a a b b); in four dimensions, of any rank."""
    size = x.shape[axis]
    before, after = product(x.shape[:axis]), product(x.shape[axis + 1 :])
    column = shapes.reshape(ctx, x, (before, 1, size, after) if whole else (before, size, 1, after), "spread")
    wide = shapes.expand(ctx, column, (before, count, size, after) if whole else (before, size, count, after), "expand")
    return shapes.reshape(ctx, wide, (*x.shape[:axis], simplified(size * count), *x.shape[axis + 1 :]), "multiplied")


@FAMILY.converter(aten.repeat_interleave.self_int, composite=True)
def repeat_interleave(ctx: ConverterContext, call: Call) -> Tensor:
    """Each element several times in a row along a dimension."""
    x, dim = ctx.tensor(call.arg("self")), call.value("dim")
    if dim is None:
        x, dim = shapes.flatten(ctx, x, role="flat"), 0
    x = x if x.rank else shapes.reshape(ctx, x, (1,), "rank")
    axis, count = x.axis(dim), shapes.size_of(call.value("repeats"))
    return shapes.reshape(ctx, _multiplied(ctx, x, axis, count, whole=False), dims_of(call.out.shape))


def _values(argument: Sequence[Any]) -> list[Any]:
    return [item.meta["val"] if isinstance(item, torch.fx.Node) else item for item in argument]


# --- padding ---------------------------------------------------------------------------------------------------------
_PADDINGS = {
    aten.reflection_pad1d.default: "REFLECT",
    aten.reflection_pad2d.default: "REFLECT",
    aten.reflection_pad3d.default: "REFLECT",
    aten.replication_pad1d.default: "CLAMP",
    aten.replication_pad2d.default: "CLAMP",
    aten.replication_pad3d.default: "CLAMP",
}
_PAD_MODES = {"constant": "FILL", "reflect": "REFLECT", "replicate": "CLAMP", "circular": "WRAP"}


@FAMILY.converter(*_PADDINGS, composite=True)
def pad_by_sampling(ctx: ConverterContext, call: Call) -> Tensor:
    """Padding with mirrored or repeated border elements."""
    return _padded(ctx, call, call.value("padding"), _PADDINGS[call.target], None)


@FAMILY.converter(aten.constant_pad_nd.default)
def pad_constant(ctx: ConverterContext, call: Call) -> Tensor:
    """Padding with a value; negative amounts cut."""
    return _padded(ctx, call, call.value("pad"), "FILL", call.value("value"))


@FAMILY.converter(aten.pad.default, composite=True)
def pad(ctx: ConverterContext, call: Call) -> Tensor:
    """Padding in any mode."""
    mode = _PAD_MODES[call.value("mode")]
    return _padded(ctx, call, call.value("pad"), mode, (call.value("value") or 0) if mode == "FILL" else None)


def _cut(ctx: ConverterContext, amount: Dim) -> Dim:
    """What a negative amount of padding takes away; 0 for others."""
    if isinstance(amount, int):
        return min(amount, 0)
    return 0 if at_least(amount, 0, ctx.sizes.ranges) else simplified(sympy.Min(amount, 0))


def _padded(ctx: ConverterContext, call: Call, amounts: Sequence[Any], mode: str, value: Any) -> Tensor:
    x = ctx.tensor(call.arg("self"))
    before: list[Dim] = [0] * x.rank
    after: list[Dim] = [0] * x.rank
    for index in range(len(amounts) // 2):
        before[-1 - index] = shapes.size_of(amounts[2 * index])
        after[-1 - index] = shapes.size_of(amounts[2 * index + 1])
    if mode == "WRAP":
        # PyTorch cuts first, and repeats what is left.
        first, last = ([_cut(ctx, amount) for amount in amounts] for amounts in (before, after))
        x = shapes.pad(ctx, x, first, last, role="cut")
        before = [simplified(amount - less) for amount, less in zip(before, first, strict=True)]
        after = [simplified(amount - less) for amount, less in zip(after, last, strict=True)]
    if x.dtype == torch.bool and mode == "FILL":
        wide = ar.cast(ctx, x, torch.int32)
        filled = shapes.pad(ctx, wide, before, after, ctx.scalar(int(bool(value)), torch.int32), mode)
        return ar.cast(ctx, filled, torch.bool)
    fill = None if value is None else ctx.scalar(value, x.dtype)
    return shapes.pad(ctx, x, before, after, fill, mode)
