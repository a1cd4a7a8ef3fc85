"""Slices that TensorRT-RTX would read from the wrong place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch

from .context import ConverterContext
from .layers import Layer, iter_layers, topological
from .loader import tensor_shape

SMALL = 8
"""Elements up to which a reduction may be computed as a sum of slices; TensorRT-RTX 1.6 does so up to 4."""

_REDUCTIONS = frozenset({"REDUCE", "NORMALIZATION", "SOFTMAX", "POOLING", "CUMULATIVE"})
_APART = frozenset(
    {
        *("MATRIX_MULTIPLY", "CONVOLUTION", "DECONVOLUTION", "EINSUM", "ATTENTION", "TOPK", "NMS", "NON_ZERO"),
        *("SCATTER", "GRID_SAMPLE", "RECURRENCE", "LOOP_OUTPUT", "ITERATOR", "TRIP_LIMIT", "CONDITION", "ASSERTION"),
    }
)
"""Layers that are never in one kernel with arithmetic after them, and reductions after that."""

_TRACED = frozenset(
    {"SHUFFLE", "CAST", "IDENTITY", "ELEMENTWISE", "UNARY", "ACTIVATION", "SCALE", "SELECT", "SQUEEZE", "UNSQUEEZE"}
)
"""Layers that a slice of their result may be moved in front of."""


@dataclass
class _Reached:
    """Sets of reductions, as bits, by name of a tensor that goes into them with nothing but arithmetic between.

    Attributes:
        anyhow: by any path.
        whole: by a path without slices.
        with_sources: those that the tensor, or one that it is computed from by arithmetic, reaches as a whole.
    """

    anyhow: dict[str, int] = field(default_factory=dict)
    whole: dict[str, int] = field(default_factory=dict)
    with_sources: dict[str, int] = field(default_factory=dict)


def copy_sliced_tensors(ctx: ConverterContext) -> int:
    """Let slices read a copy, where one kernel may read both them and the tensor that they are of; how many do.

    In a kernel that ends in a reduction, such as that of `layer_norm(x - x[:, :1])`, TensorRT-RTX 1.6 reads the slice
    at the place where the kernel reads `x`, and computes `layer_norm(x - x)`. So it does where it sums up few elements
    as slices (`x - x.mean(1, keepdim=True)` for a size of 2 to 4). Only static shapes are concerned. A gather of all
    elements is a copy that it does not see through, and that costs no kernel.
    """
    layers = topological(iter_layers(ctx.library, ctx.network))
    reached = _reached(layers)
    count = 0
    for layer in layers:
        axis = _sliced_axis(layer)
        if axis is None:
            continue
        source, after = layer.inputs[0], reached.anyhow.get(layer.outputs[0].name, 0)
        if after & reached.with_sources.get(source.name, 0):
            layer.handle.set_input(0, _copy(ctx, layer, source, axis))
            count += 1
    return count


def _copy(ctx: ConverterContext, layer: Layer, source: Any, axis: int) -> Any:
    shape = tensor_shape(source)
    assert shape is not None
    ctx.begin(ctx.layer_nodes[layer.name])
    places = ctx.constant(torch.arange(shape[axis], dtype=torch.int32), "places")
    return ctx.emit(ctx.network.add_gather(source, places.trt, axis), shape, "copy").trt


def _sliced_axis(layer: Layer) -> int | None:
    """An axis along which a layer takes a part of a static tensor, or sums up few elements; None if it does neither."""
    before = tensor_shape(layer.inputs[0]) if layer.kind in ("SLICE", "REDUCE") else None
    if before is None or not before or min(before) < 1:
        return None
    if layer.kind == "SLICE":
        after = tensor_shape(layer.outputs[0])
        # A slice that takes everything is a way to reverse, or to repeat.
        cut = [axis for axis, (old, new) in enumerate(zip(before, after or (), strict=False)) if 1 < old != new]
        return cut[0] if cut else None
    axes = [axis for axis in range(len(before)) if layer.handle.axes >> axis & 1]
    return axes[0] if 1 < prod(before[axis] for axis in axes) <= SMALL else None


def _reached(layers: Sequence[Layer]) -> _Reached:
    reached = _Reached()
    bits: dict[str, int] = {}
    for layer in layers:
        if layer.kind in _REDUCTIONS:
            bits[layer.name] = 1 << len(bits)
    for layer in reversed(layers):
        own, whole = bits.get(layer.name, 0), bits.get(layer.name, 0)
        if not own and layer.kind not in _APART:
            own = _union(reached.anyhow, layer.outputs)
            whole = 0 if layer.kind == "SLICE" else _union(reached.whole, layer.outputs)
        for name in _names(layer.inputs):
            reached.anyhow[name] = reached.anyhow.get(name, 0) | own
            reached.whole[name] = reached.whole.get(name, 0) | whole
    reached.with_sources.update(reached.whole)
    for layer in layers:
        if layer.kind in _TRACED:
            sources = _union(reached.with_sources, layer.inputs)
            for name in _names(layer.outputs):
                reached.with_sources[name] = reached.with_sources.get(name, 0) | sources
    return reached


def _names(tensors: Sequence[Any]) -> Iterator[str]:
    return (tensor.name for tensor in tensors if tensor is not None)


def _union(sets: dict[str, int], tensors: Sequence[Any]) -> int:
    found = 0
    for name in _names(tensors):
        found |= sets.get(name, 0)
    return found
