"""Outputs of a network with the elements of another one, of which TensorRT-RTX would write one only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from .context import ConverterContext
from .layers import Layer, iter_layers, topological
from .loader import tensor_shape
from .shapes import concatenate, unsqueeze
from .slice_copies import copy_of
from .tensor import Tensor

_OTHER_SHAPES = frozenset({"IDENTITY", "SQUEEZE", "UNSQUEEZE"})


def with_elements_of_their_own(ctx: ConverterContext, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of nodes, by name, that are to be outputs: a copy where one before has the same elements in order.

    TensorRT-RTX 1.6.1 takes a tensor in another shape for the tensor itself. Where both are outputs it wrote one of
    them on an H200, and the other kept what its memory held: `y, y.repeat(1)` of a norm was `0, y`.
    """
    layers = topological(iter_layers(ctx.library, ctx.network))
    producers = {tensor.name: layer for layer in layers for tensor in layer.outputs}
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
    row = unsqueeze(ctx, x, 0, "row")
    pair = concatenate(ctx, [row, row], 0, "pair")
    place = ctx.constant(torch.tensor(1, dtype=torch.int32), "place")
    return ctx.emit(ctx.network.add_gather(pair.trt, place.trt, 0), x.shape, "copy")
