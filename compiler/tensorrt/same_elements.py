"""Tensors that TensorRT-RTX takes for one, or writes in place, where they must be two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from .context import ConverterContext
from .layers import Layer, iter_layers, topological
from .loader import tensor_shape
from .slice_copies import copy_of
from .small_axes import tensor_of
from .tensor import Tensor

_BODIES = frozenset({"CONDITION", "TRIP_LIMIT"})
_OTHER_SHAPES = frozenset({"IDENTITY", "SQUEEZE", "UNSQUEEZE"})


def with_elements_of_their_own(ctx: ConverterContext, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of nodes, by name, that are to be outputs: a copy where one before has the same elements in order.

    TensorRT-RTX 1.6.1 takes a tensor in another shape for the tensor itself. Where both are outputs it wrote one of
    them on an H200, and the other kept what its memory held: `y, y.repeat(1)` of a norm was `0, y`.
    """
    _, producers = _layers(ctx)
    taken: set[str] = set()
    found = {}
    for name, tensor in outputs.items():
        origin = _origin(tensor.trt, producers)
        if origin in taken:
            ctx.begin(name)
            tensor = _copied(ctx, tensor)
        taken.add(origin)
        found[name] = tensor
    return found


def copy_scattered_tensors(ctx: ConverterContext) -> None:
    """Let scatters write to a copy, where a branch or the body of a loop reads what they are given.

    TensorRT-RTX 1.6.1 lets a scatter write in place, and does not see that a conditional, which it runs later, reads
    the same memory: `out = torch.cond(p, torch.sin, torch.cos, (x,)); x[[0, -1]] = 1` gave `sin(1)` in these rows on
    an H200.
    """
    layers, producers = _layers(ctx)
    if not any(layer.kind in _BODIES for layer in layers):
        return
    readers: dict[str, set[str]] = defaultdict(set)
    for layer in layers:
        if not _keeps_order(layer):
            for tensor in layer.inputs:
                if tensor is not None:
                    readers[_origin(tensor, producers)].add(layer.name)
    for layer in layers:
        if layer.kind == "SCATTER" and len(readers[_origin(layer.inputs[0], producers)]) > 1:
            ctx.begin(ctx.layer_nodes[layer.name])
            layer.handle.set_input(0, _copied(ctx, tensor_of(layer.inputs[0])).trt)


def _layers(ctx: ConverterContext) -> tuple[Sequence[Layer], Mapping[str, Layer]]:
    """The layers in the order in which they run, and what makes each tensor, by its name."""
    layers = topological(iter_layers(ctx.library, ctx.network))
    return layers, {tensor.name: layer for layer in layers for tensor in layer.outputs}


def _origin(tensor: Any, producers: Mapping[str, Layer]) -> str:
    """The name of the first tensor that has the same elements in the same order."""
    layer = producers.get(tensor.name)
    while layer is not None and _keeps_order(layer):
        tensor = layer.inputs[0]
        layer = producers.get(tensor.name)
    return str(tensor.name)


def _keeps_order(layer: Layer) -> bool:
    if layer.kind in _OTHER_SHAPES:
        return True
    if layer.kind != "SHUFFLE":
        return layer.kind == "CONCATENATION" and len(layer.inputs) == 1
    before, after = tensor_shape(layer.inputs[0]), tensor_shape(layer.outputs[0])
    if before is None or after is None:
        return False
    first, second = tuple(layer.handle.first_transpose), tuple(layer.handle.second_transpose)
    # TensorRT holds permutations of as many axes as any tensor can have.
    return _in_order(axis for axis in first[: len(before)] if before[axis] != 1) and _in_order(
        axis for axis, size in zip(second, after, strict=False) if size != 1
    )


def _in_order(axes: Iterable[int]) -> bool:
    moved = list(axes)
    return moved == sorted(moved)


def _copied(ctx: ConverterContext, x: Tensor) -> Tensor:
    """A copy that TensorRT does not see through: a gather."""
    axis = next((axis for axis, size in enumerate(x.shape) if isinstance(size, int) and size > 1), None)
    if axis is not None:
        return copy_of(ctx, axis, x)
    # A gather of all of one element is none; the second of two that are alike is.
    axes = ctx.constant(torch.zeros(1, dtype=torch.int64), "axes")
    row = ctx.emit(ctx.network.add_unsqueeze(x.trt, axes.trt), (1, *x.shape), "row")
    layer = ctx.network.add_concatenation([row.trt, row.trt])
    layer.axis = 0
    pair = ctx.emit(layer, (2, *x.shape), "pair")
    place = ctx.constant(torch.tensor(1, dtype=torch.int32), "place")
    return ctx.emit(ctx.network.add_gather(pair.trt, place.trt, 0), x.shape, "copy")
