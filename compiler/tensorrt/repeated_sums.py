"""Sums over few elements, one after the other, for which the builder of TensorRT-RTX takes exponential time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import prod

import torch

from . import arithmetic as ar
from .context import ConverterContext
from .layers import Layer, iter_layers, topological
from .loader import tensor_shape
from .slice_copies import APART, TAKES_PARTS_ITSELF, replace_input, summed_axes
from .small_axes import expanded, tensor_of
from .tensor import Tensor, is_float

SLICED = 6
"""Elements up to which TensorRT-RTX 1.6 computes sums, and products of single rows, from slices."""

NESTED = 2
"""How many of them may be in one kernel: each time, all that comes before is written down once per slice."""

_ENOUGH = 8


def repeat_small_sums(ctx: ConverterContext) -> None:
    """Let sums over few elements, where they follow each other, read each element several times.

    In `c / c.sum(1, keepdim=True)`, repeated, TensorRT-RTX 1.6 computes every sum of up to 6 elements from slices,
    moves the slices to the front of all that comes before, and is done after seconds for 5 sums, and after minutes for
    7. So it does with the steps of a loop, which it unrolls, where a product has 6 columns or fewer. Sums of 7 elements
    or more are kernels' ordinary sums. A gather repeats the elements, by a power of two that the sum is divided by,
    which is exact; products get ones to multiply, and sums of integers zeros. Axes of varying size are kernels'
    ordinary sums already; a varying batch beside few elements changes nothing.
    """
    layers = topological(iter_layers(ctx.library, ctx.network))
    repeated_in_loops = _in_loops(layers)
    depths: dict[str, int] = defaultdict(int)
    for layer in layers:
        few = _few(layer)
        depth = max((depths[tensor.name] for tensor in layer.inputs if tensor is not None), default=0)
        if few is None:
            depth = 0 if layer.kind in APART else depth
        elif depth >= NESTED or layer.name in repeated_in_loops:
            ctx.begin(ctx.layer_nodes[layer.name])
            _repeat(ctx, layers, layer, few)
            depth = 0
        else:
            depth += 1
        for tensor in layer.outputs:
            depths[tensor.name] = depth


def _few(layer: Layer) -> int | None:
    """The number of elements that a layer sums up, if TensorRT takes slices of them."""
    if layer.kind not in TAKES_PARTS_ITSELF | {"REDUCE", "MATRIX_MULTIPLY"}:
        return None
    shape = tensor_shape(layer.inputs[0])
    if not shape or 0 in shape:
        return None
    if layer.kind == "MATRIX_MULTIPLY":
        other = tensor_shape(layer.inputs[1])
        if not other or 0 in other:
            return None
        sizes = [shape[summed_axes(layer)[0]]]
    else:
        if getattr(layer.handle, "num_groups", 1) != 1:
            return None
        sizes = [size for axis, size in enumerate(shape) if layer.handle.axes >> axis & 1]
    return prod(sizes) if min(sizes, default=-1) > 0 and 1 < prod(sizes) <= SLICED else None


def _in_loops(layers: Sequence[Layer]) -> set[str]:
    """Names of the layers that compute a loop's carried values from those of the iteration before."""
    after: set[str] = set()
    for layer in layers:
        if layer.kind == "RECURRENCE" or any(tensor is not None and tensor.name in after for tensor in layer.inputs):
            after.update(tensor.name for tensor in layer.outputs)
    before = {layer.inputs[1].name for layer in layers if layer.kind == "RECURRENCE" and len(layer.inputs) > 1}
    found = set()
    for layer in reversed(layers):
        if before.isdisjoint(tensor.name for tensor in layer.outputs):
            continue
        before.update(tensor.name for tensor in layer.inputs if tensor is not None)
        if not after.isdisjoint(tensor.name for tensor in layer.inputs if tensor is not None):
            found.add(layer.name)
    return found


def _repeat(ctx: ConverterContext, layers: Sequence[Layer], layer: Layer, count: int) -> None:
    times = 1
    while count * times < _ENOUGH:
        times *= 2
    inputs = [tensor_of(layer.handle.get_input(index)) for index in range(len(layer.inputs))]
    if layer.kind == "MATRIX_MULTIPLY":
        weights = 0 if ctx.is_constant(inputs[0]) else 1
        for index, axis in enumerate(summed_axes(layer)):
            x = ar.multiply(ctx, inputs[index], 1 / times, "share") if index == weights else inputs[index]
            layer.handle.set_input(index, _repeated(ctx, x, axis, times).trt)
        return
    axis = next(axis for axis in range(inputs[0].rank) if layer.handle.axes >> axis & 1 and inputs[0].shape[axis] > 1)
    if layer.kind in TAKES_PARTS_ITSELF:
        result = expanded(ctx, layer, lambda x: _repeated(ctx, x, axis, times), times)
        replace_input(layers, layer.outputs[0], result.trt)
    elif layer.handle.op.name == "PROD" or (layer.handle.op.name == "SUM" and not is_float(inputs[0].dtype)):
        neutral = 1 if layer.handle.op.name == "PROD" else 0
        layer.handle.set_input(0, _padded(ctx, inputs[0], axis, times, neutral).trt)
    else:
        x = ar.multiply(ctx, inputs[0], 1 / times, "share") if layer.handle.op.name == "SUM" else inputs[0]
        layer.handle.set_input(0, _repeated(ctx, x, axis, times).trt)


def _padded(ctx: ConverterContext, x: Tensor, axis: int, times: int, neutral: int) -> Tensor:
    """Several times as many elements along an axis: those of the tensor, and the neutral one of an operation."""
    size = x.shape[axis]
    shape = [size * times if dim == axis else 1 for dim in range(x.rank)]
    own = ctx.constant((torch.arange(size * times) < size).reshape(shape), "own")
    return ar.where(ctx, own, _repeated(ctx, x, axis, times), ctx.scalar(neutral, x.dtype, x.rank), "padded")


def _repeated(ctx: ConverterContext, x: Tensor, dim: int, times: int) -> Tensor:
    axis = dim % x.rank
    size = x.shape[axis]
    places = ctx.constant(torch.arange(size * times, dtype=torch.int32) % size, "places")
    shape = (*x.shape[:axis], size * times, *x.shape[axis + 1 :])
    return ctx.emit(ctx.network.add_gather(x.trt, places.trt, axis), shape, "repeated")
