"""Reading and writing elements at places that are themselves tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sympy
import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, product, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import Tensor
from .masks import NONZERO_FOR_MASKS, has_mask, masked_elements

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("indexing")


def gathered(ctx: ConverterContext, x: Tensor, index: Tensor, axis: int, role: str = "") -> Tensor:
    """Slices of `x` along an axis at the places of `index`, whose dimensions replace the axis."""
    layer = ctx.network.add_gather(x.trt, index.trt, axis)
    return ctx.emit(layer, (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]), role)


def wrapped(ctx: ConverterContext, index: Tensor, size: Dim) -> Tensor:
    """Indices with negative ones, which count from the end, made positive."""
    length: Tensor | int = size if isinstance(size, int) else shapes.reshape(ctx, ctx.sizes.tensor(size), (), "size")
    negative = ar.compare(ctx, "LESS", index, 0, "negative")
    shifted = ar.pair(ctx, index, length, index.dtype)
    return ar.where(ctx, negative, ar.elementwise(ctx, "SUM", *shifted, "from_end"), index, "index")


def _nonnegative(ctx: ConverterContext, argument: object) -> bool:
    values = ctx.constant_value(argument)
    return values is not None and bool((values >= 0).all())


@FAMILY.converter(aten.embedding.default)
def embedding(ctx: ConverterContext, call: Call) -> Tensor:
    """Rows of a table."""
    return gathered(ctx, ctx.tensor(call.arg("weight")), ctx.tensor(call.arg("indices")), 0)


@FAMILY.converter(aten.index_select.default)
def index_select(ctx: ConverterContext, call: Call) -> Tensor:
    """Slices of a dimension at the places of a vector."""
    x, index = ctx.tensor(call.arg("self")), ctx.tensor(call.arg("index"))
    if not x.rank:
        return x
    index = index if index.rank else shapes.reshape(ctx, index, (1,), "index")
    return gathered(ctx, x, index, x.axis(call.value("dim")))


@FAMILY.converter(aten.gather.default)
def gather(ctx: ConverterContext, call: Call) -> Tensor:
    """Elements of a dimension, one place for each."""
    x, index = ctx.tensor(call.arg("self")), ctx.tensor(call.arg("index"))
    if 0 in index.shape:
        return shapes.full(ctx, index.shape, ctx.scalar(0, x.dtype, index.rank))
    if not x.rank or not index.rank:
        flat = gathered(ctx, shapes.flatten(ctx, x, role="flat"), shapes.flatten(ctx, index, role="flat"), 0)
        return shapes.reshape(ctx, flat, index.shape, "shape")
    axis = x.axis(call.value("dim"))
    for dim, size in enumerate(index.shape):
        # TensorRT wants equal sizes in all other dimensions; PyTorch reads the first ones.
        if dim != axis and size != x.shape[dim]:
            x = shapes.slice_axis(ctx, x, dim, 0, size, role="cut")
    layer = ctx.network.add_gather_v2(x.trt, index.trt, ctx.trt.GatherMode.ELEMENT)
    layer.axis = axis
    return ctx.emit(layer, index.shape)


# --- indexing by several tensors -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Places:
    """Indexed dimensions of a tensor, merged into one in front.

    Attributes:
        axes: the indexed dimensions; `rest`: the others.
        rows: the tensor with the indexed dimensions merged in front, [product, *rest].
        linear: the places in the merged dimension, of the broadcast shape of the indices.
    """

    axes: tuple[int, ...]
    rest: tuple[int, ...]
    rows: Tensor
    linear: Tensor


@FAMILY.converter(
    aten.index.Tensor,
    aten._unsafe_index.Tensor,
    requires=[NONZERO_FOR_MASKS],
    composite=True,
)
def index(ctx: ConverterContext, call: Call) -> Tensor:
    """Elements at the places of one or more tensors, which are broadcast, or where masks are True."""
    if has_mask(call):
        return masked_elements(ctx, call)
    x, indices = ctx.tensor(call.arg("self")), call.arg("indices")
    axes = [axis for axis, item in enumerate(indices) if item is not None]
    if len(axes) == 1:
        place = _place(ctx, indices[axes[0]], x.shape[axes[0]])
        return gathered(ctx, x, place, axes[0])
    places = places_of(ctx, x, indices)
    result = gathered(ctx, places.rows, places.linear, 0)
    if axes == list(range(axes[0], axes[-1] + 1)):
        # Adjacent indices: their dimensions stand where the indexed ones stood.
        new = places.linear.rank
        order = [*range(new, new + axes[0]), *range(new), *range(new + axes[0], result.rank)]
        result = shapes.permute(ctx, result, order, "move")
    return result


def _place(ctx: ConverterContext, argument: object, size: Dim) -> Tensor:
    tensor = ctx.tensor(argument)
    return tensor if _nonnegative(ctx, argument) else wrapped(ctx, tensor, size)


def places_of(ctx: ConverterContext, x: Tensor, indices: Sequence[object]) -> Places:
    """Indexed dimensions merged into one, and the places in it; None stands for a dimension that is not indexed."""
    axes = tuple(axis for axis, item in enumerate(indices) if item is not None)
    rest = tuple(axis for axis in range(x.rank) if axis not in axes)
    moved = shapes.permute(ctx, x, (*axes, *rest), "move")
    sizes = moved.shape[: len(axes)]
    rows = shapes.reshape(ctx, moved, (product(sizes), *moved.shape[len(axes) :]), "rows")
    linear: Tensor | None = None
    for axis, size in zip(axes, sizes, strict=True):
        place = ar.cast(ctx, _place(ctx, indices[axis], size), torch.int64)
        if linear is None:
            linear = place
            continue
        factor: Tensor | int = (
            size if isinstance(size, int) else shapes.reshape(ctx, ctx.sizes.tensor(size), (), "size")
        )
        linear = ar.add(ctx, ar.multiply(ctx, linear, factor, "offset"), place, "place")
    assert linear is not None
    return Places(axes, rest, rows, linear)


# --- writing ---------------------------------------------------------------------------------------------------------
@FAMILY.converter(aten.scatter.src, aten.scatter.value)
def scatter(ctx: ConverterContext, call: Call) -> Tensor:
    """Values written along a dimension, one place for each."""
    x, places = ctx.tensor(call.arg("self")), ctx.tensor(call.arg("index"))
    if call.target is aten.scatter.value:
        updates = shapes.full(ctx, places.shape, ctx.scalar(call.value("value"), x.dtype, places.rank), "updates")
    else:
        updates = ctx.tensor(call.arg("src"))
        for dim, size in enumerate(places.shape):
            updates = shapes.slice_axis(ctx, updates, dim, 0, size, role="cut")
    if not x.rank:
        return shapes.reshape(ctx, updates, (), "shape")
    return written_elements(ctx, x, places, updates, x.axis(call.value("dim")))


def written_elements(ctx: ConverterContext, x: Tensor, places: Tensor, updates: Tensor, axis: int) -> Tensor:
    """A copy of `x` with updates written along an axis, one place for each; of several at one place any is written."""
    size, count = x.shape[axis], places.shape[axis]
    # TensorRT refuses more updates in a row than the data has places.
    more = simplified(sympy.Max(count - size, 0))
    after = [more if dim == axis else 0 for dim in range(x.rank)]
    long = shapes.pad(ctx, x, [0] * x.rank, after, role="long")
    layer = ctx.network.add_scatter(long.trt, places.trt, updates.trt, ctx.trt.ScatterMode.ELEMENT)
    if layer is not None:
        layer.axis = axis
    written = ctx.emit(layer, long.shape, "" if more == 0 else "written")
    return shapes.slice_axis(ctx, written, axis, 0, size)


@FAMILY.converter(aten.embedding_renorm.default)
def embedding_renorm(ctx: ConverterContext, call: Call) -> Tensor:
    """A table whose rows at some places are scaled down to a norm that they exceed."""
    weight, indices = ctx.tensor(call.arg("self")), ctx.tensor(call.arg("indices"))
    most = float(call.value("max_norm"))
    wide = ar.cast(ctx, weight, torch.float32, "wide")
    norm = ar.norm(ctx, wide, float(call.value("norm_type")), [1], True, "norm")
    # The small number is PyTorch's.
    factor = ar.binary(ctx, "DIV", most, ar.add(ctx, norm, 1e-7, "norm"), "factor")
    factor = ar.where(ctx, ar.compare(ctx, "GREATER", norm, most, "longer"), factor, 1.0, "factor")
    scaled = ar.cast(ctx, ar.multiply(ctx, wide, factor, "scaled"), weight.dtype)
    places = shapes.reshape(ctx, indices, (product(indices.shape), 1), "places")
    rows = gathered(ctx, scaled, shapes.flatten(ctx, indices, role="rows"), 0, "rows")
    # A row that is written twice is written the same way.
    layer = ctx.network.add_scatter(weight.trt, places.trt, rows.trt, ctx.trt.ScatterMode.ND)
    return ctx.emit(layer, weight.shape)
