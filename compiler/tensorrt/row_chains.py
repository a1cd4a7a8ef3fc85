"""Products of one row in a chain, of which TensorRT-RTX would compute the third with another row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from .context import ConverterContext
from .layers import Layer, iter_layers, topological
from .loader import tensor_shape
from .slice_copies import copy_of, is_apart, is_of_a_vector, summed_axes
from .small_axes import tensor_of

LONGEST = 64
"""Elements of a row up to which products are looked at: wrong kernels were seen for 7 to 32, and none from 40."""

_ONE_TO_ONE = frozenset({"SHUFFLE", "CAST", "IDENTITY", "SQUEEZE", "UNSQUEEZE"})


def copy_rows_of_chains(ctx: ConverterContext) -> None:
    """Let a product of one row read a copy, if the row comes from such a product and arithmetic reads it as well.

    Three steps of `x = x + linear(x)`, or of `x = x * linear(x).sigmoid()`, for one row of 7 to 32 elements were wrong
    by as much as their values on an H200, with TensorRT-RTX 1.6.1, in float32 and halves. Only static shapes are
    concerned; a gather of all elements in front of a product makes them right. So were three steps of a cell,
    `h = tanh(linear(x) + linear(h))`, whose row comes from two products.
    """
    layers = topological(iter_layers(ctx.library, ctx.network))
    producers = {tensor.name: layer for layer in layers for tensor in layer.outputs}
    of_products, of_several = _of_products(layers)
    readers = _readers(layers, producers)
    for layer in layers:
        index = _row(layer)
        if index is None:
            continue
        source = layer.inputs[index]
        origin = _origin(source, producers)
        if of_products[origin.name] and (of_several[origin.name] or len(readers[origin.name]) > 1):
            ctx.begin(ctx.layer_nodes[layer.name])
            row = tensor_of(source)
            layer.handle.set_input(index, copy_of(ctx, row.rank + summed_axes(layer)[index], row).trt)


def _row(layer: Layer) -> int | None:
    """Which operand of a product is one row, or one column, of few elements; None for other layers."""
    shape = tensor_shape(layer.outputs[0]) if layer.kind == "MATRIX_MULTIPLY" else None
    if shape is None or len(shape) < 2 or 1 not in shape[-2:]:
        return None
    index = 0 if shape[-2] == 1 else 1
    before = tensor_shape(layer.inputs[index])
    if before is None or len(before) < 2 or min(before) < 1:
        return None
    return index if 1 < before[len(before) + summed_axes(layer)[index]] <= LONGEST else None


def _of_products(layers: Sequence[Layer]) -> tuple[Mapping[str, bool], Mapping[str, bool]]:
    """Whether tensors, by name, are computed from products of one row with nothing but arithmetic between.

    The second mapping says so of those that are computed from several products.
    """
    found: dict[str, bool] = defaultdict(bool)
    several: dict[str, bool] = defaultdict(bool)
    for layer in layers:
        of_products = {tensor.name for tensor in layer.inputs if tensor is not None and found[tensor.name]}
        arithmetic = not is_apart(layer)
        for tensor in layer.outputs:
            found[tensor.name] = is_of_a_vector(layer) or (arithmetic and bool(of_products))
            several[tensor.name] = arithmetic and (len(of_products) > 1 or any(several[name] for name in of_products))
    return found, several


def _origin(tensor: Any, producers: Mapping[str, Layer]) -> Any:
    """The tensor that this one has the elements of, in other types or another shape."""
    layer = producers.get(tensor.name)
    while layer is not None and layer.kind in _ONE_TO_ONE:
        tensor = layer.inputs[0]
        layer = producers.get(tensor.name)
    return tensor


def _readers(layers: Sequence[Layer], producers: Mapping[str, Layer]) -> Mapping[str, set[str]]:
    """Names of the layers that read tensors, by the name of the tensor, in whatever type and shape they read it."""
    readers: dict[str, set[str]] = defaultdict(set)
    for layer in layers:
        if layer.kind not in _ONE_TO_ONE:
            for tensor in layer.inputs:
                if tensor is not None:
                    readers[_origin(tensor, producers).name].add(layer.name)
    return readers
