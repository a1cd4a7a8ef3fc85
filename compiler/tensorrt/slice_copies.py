"""Slices that TensorRT-RTX would read from the wrong place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from math import prod
from operator import or_
from typing import Any

import torch

from .context import ConverterContext
from .layers import Layer, iter_layers, topological
from .loader import tensor_shape
from .small_axes import expanded, tensor_of
from .tensor import Tensor

SMALL, SMALL_SUM = 4, 6
"""Elements up to which TensorRT-RTX 1.6 computes a reduction from slices, and a sum, as in softmax too."""

REDUCTIONS = frozenset({"REDUCE", "NORMALIZATION", "SOFTMAX", "POOLING", "CUMULATIVE"})
APART = frozenset(
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

TAKES_PARTS_ITSELF = frozenset({"SOFTMAX", "NORMALIZATION"})
_TAKE_PARTS = TAKES_PARTS_ITSELF | {"SLICE", "REDUCE", "MATRIX_MULTIPLY"}

_SLICED = frozenset({"SLICE", "MATRIX_MULTIPLY"})
"""Layers of which a kernel with a reduction reads parts of their inputs, if it computes them at all."""

_Sets = defaultdict[str, int]


@dataclass
class _Reached:
    """Sets of reductions, as bits, by name of a tensor that goes into them with nothing but arithmetic between.

    Attributes:
        anyhow: by any path.
        alike: those, and all that reduce tensors of the same shape along the same axes.
        beside: by a path that does not begin with a slice.
        whole: by a path without slices; also those of what the tensor is computed from by arithmetic.
        bits: the reductions, by name of their layer.
    """

    anyhow: _Sets = field(default_factory=partial(defaultdict, int))
    alike: _Sets = field(default_factory=partial(defaultdict, int))
    beside: _Sets = field(default_factory=partial(defaultdict, int))
    whole: _Sets = field(default_factory=partial(defaultdict, int))
    bits: dict[str, int] = field(default_factory=dict)

    def may_share_a_kernel(self, layer: Layer) -> bool:
        """Whether one kernel may compute reductions of what a layer yields, and read the layer's input as a whole.

        Branches that begin at the same tensor and end in like reductions become one kernel too.
        """
        source, part = layer.inputs[0].name, layer.outputs[0].name
        others = self.beside[source] & ~self.bits.get(layer.name, 0)
        return bool(self.alike[part] & others or self.anyhow[part] & self.whole[source])


def copy_sliced_tensors(ctx: ConverterContext) -> None:
    """Let slices read a copy, where one kernel may read both them and the tensor that they are of.

    In a kernel that ends in a reduction, such as that of `layer_norm(x - x[:, :1])`, TensorRT-RTX 1.6 reads the slice
    at the place where the kernel reads `x`, and computes `layer_norm(x - x)`. So it does where it sums up few elements
    as slices: in `x - x.mean(1, keepdim=True)`, norms and matrix products for a size of 2 to 4, in softmax and in
    `x / x.sum(1, keepdim=True)` for 2 to 6. A product with one row or column is such a kernel too: `torch.mv(x, x[0])`
    was `(x * x).sum(1)`. Only static shapes are concerned. A gather of all elements is a copy that it does not see
    through, and that costs no kernel.
    """
    layers = topological(iter_layers(ctx.library, ctx.network))
    reached = _reached(layers)
    for layer in layers:
        axis = _axis_of_parts(layer)
        if axis is None or not reached.anyhow[layer.outputs[0].name]:
            continue
        ctx.begin(ctx.layer_nodes[layer.name])
        if layer.kind == "MATRIX_MULTIPLY":
            for index, summed in enumerate(summed_axes(layer)):
                source = tensor_of(layer.handle.get_input(index))
                layer.handle.set_input(index, copy_of(ctx, source.rank + summed, source).trt)
        elif layer.kind in TAKES_PARTS_ITSELF:
            result = expanded(ctx, layer, partial(copy_of, ctx, axis))
            replace_input(layers, layer.outputs[0], result.trt)
        elif reached.may_share_a_kernel(layer):
            layer.handle.set_input(0, copy_of(ctx, axis, tensor_of(layer.handle.get_input(0))).trt)


def copy_of(ctx: ConverterContext, axis: int, x: Tensor) -> Tensor:
    """A gather of all elements of a static tensor along an axis, which TensorRT does not see through."""
    places = ctx.constant(torch.arange(x.shape[axis], dtype=torch.int32), "places")
    return ctx.emit(ctx.network.add_gather(x.trt, places.trt, axis), x.shape, "copy")


def replace_input(layers: Sequence[Layer], old: Any, new: Any) -> None:
    """Let what may be in one kernel with a tensor read another in place of it."""
    for layer in layers:
        for index, tensor in enumerate(layer.inputs):
            if tensor is not None and tensor.name == old.name and not is_apart(layer):
                layer.handle.set_input(index, new)


def _axis_of_parts(layer: Layer) -> int | None:
    """An axis along which a layer takes a part of a static tensor, or sums up few elements; None if it does neither."""
    before = tensor_shape(layer.inputs[0]) if layer.kind in _TAKE_PARTS else None
    if not before or min(before) < 1:
        return None
    if layer.kind == "SLICE":
        after = tensor_shape(layer.outputs[0])
        # A slice that takes everything is a way to reverse, or to repeat.
        cut = [axis for axis, (old, new) in enumerate(zip(before, after or (), strict=False)) if 1 < old != new]
        return cut[0] if cut else None
    if layer.kind == "MATRIX_MULTIPLY":
        axis, other = len(before) + summed_axes(layer)[0], tensor_shape(layer.inputs[1])
        return axis if 1 < before[axis] <= SMALL and min(other or (-1,)) >= 1 else None
    axes = [axis for axis in range(len(before)) if layer.handle.axes >> axis & 1 and before[axis] > 1]
    sums = layer.kind == "SOFTMAX" or (layer.kind == "REDUCE" and layer.handle.op.name == "SUM")
    few = axes and prod(before[axis] for axis in axes) <= (SMALL_SUM if sums else SMALL)
    return axes[0] if few and getattr(layer.handle, "num_groups", 1) == 1 else None


def summed_axes(product: Layer) -> tuple[int, int]:
    """The axes of both operands, counted from the end, along which a matrix product adds up."""
    first, second = product.handle.op0.name, product.handle.op1.name
    return -2 if first == "TRANSPOSE" else -1, -2 if second == "NONE" else -1


def is_apart(layer: Layer) -> bool:
    """Whether a layer is never in one kernel with arithmetic after it."""
    is_sum = layer.kind == "MATRIX_MULTIPLY" and (_axis_of_parts(layer) is not None or is_of_a_vector(layer))
    return layer.kind in APART and not is_sum


def is_of_a_vector(layer: Layer) -> bool:
    """Whether a layer is a matrix product with one row or one column, which is a kernel with a sum."""
    shape = tensor_shape(layer.outputs[0]) if layer.kind == "MATRIX_MULTIPLY" else None
    return shape is not None and 1 in shape[-2:]


def _reached(layers: Sequence[Layer]) -> _Reached:
    reached = _Reached()
    kinds: dict[Any, int] = defaultdict(int)
    for layer in layers:
        if layer.kind in REDUCTIONS or is_of_a_vector(layer):
            bit = reached.bits[layer.name] = 1 << len(reached.bits)
            kinds[_kind(layer)] |= bit
    for layer in reversed(layers):
        own = whole = reached.bits.get(layer.name, 0)
        alike = kinds[_kind(layer)] if own else 0
        if not own and not is_apart(layer):
            own, alike = _union(reached.anyhow, layer.outputs), _union(reached.alike, layer.outputs)
            whole = 0 if layer.kind in _SLICED else _union(reached.whole, layer.outputs)
        for name in _names(layer.inputs):
            reached.anyhow[name] |= own
            reached.alike[name] |= alike
            reached.whole[name] |= whole
            reached.beside[name] |= 0 if layer.kind in _SLICED else own
    for layer in layers:
        if layer.kind in _TRACED:
            sources = _union(reached.whole, layer.inputs)
            for name in _names(layer.outputs):
                reached.whole[name] |= sources
    return reached


def _kind(reduction: Layer) -> tuple[Any, ...]:
    return tensor_shape(reduction.inputs[0]), getattr(reduction.handle, "axes", None)


def _names(tensors: Sequence[Any]) -> Iterator[str]:
    return (tensor.name for tensor in tensors if tensor is not None)


def _union(sets: _Sets, tensors: Sequence[Any]) -> int:
    return reduce(or_, (sets[name] for name in _names(tensors)), 0)
