"""Softmax and normalization over few elements, by layers that read copies; see `slice_copies`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import arithmetic as ar
from .context import ConverterContext
from .dtypes import from_trt
from .layers import Layer
from .loader import tensor_shape
from .tensor import Tensor

Copy = Callable[[Tensor], Tensor]


def expanded(ctx: ConverterContext, layer: Layer, copy: Copy, times: int = 1) -> Tensor:
    """The result of a SOFTMAX or NORMALIZATION layer on a static tensor, in float32 inside.

    Args:
        ctx: builds the network, and has begun the layer's node.
        layer: the layer, which has axes.
        copy: yields a copy of a tensor.
        times: how often the copy has each element along one of the layer's axes, a power of two.
    """
    x = tensor_of(layer.handle.get_input(0))
    wide = ar.cast(ctx, x, torch.float32, "wide")
    if layer.kind == "SOFTMAX":
        result = _softmax(ctx, layer, wide, copy, times)
    else:
        result = _normalization(ctx, layer, wide, copy)
    return ar.cast(ctx, result, x.dtype, "narrow")


def _softmax(ctx: ConverterContext, layer: Layer, x: Tensor, copy: Copy, times: int) -> Tensor:
    largest = _reduced(ctx, layer, "MAX", copy(x))
    powers = ar.unary(ctx, "EXP", ar.elementwise(ctx, "SUB", x, largest, "shifted"), "powers")
    shares = powers if times == 1 else ar.multiply(ctx, powers, 1 / times, "share")
    return ar.elementwise(ctx, "DIV", powers, _reduced(ctx, layer, "SUM", copy(shares)), "softmax")


def _normalization(ctx: ConverterContext, layer: Layer, x: Tensor, copy: Copy) -> Tensor:
    centered = ar.elementwise(ctx, "SUB", x, _reduced(ctx, layer, "AVG", copy(x)), "centered")
    squares = copy(ar.square(ctx, centered))
    variance = ar.add(ctx, _reduced(ctx, layer, "AVG", squares), layer.handle.epsilon, "variance")
    result = ar.elementwise(ctx, "DIV", centered, ar.unary(ctx, "SQRT", variance, "deviation"), "normalized")
    for operation, index in (("PROD", 1), ("SUM", 2)):
        factor = ar.cast(ctx, tensor_of(layer.handle.get_input(index)), torch.float32, "wide")
        result = ar.elementwise(ctx, operation, result, factor, "scaled")
    return result


def _reduced(ctx: ConverterContext, layer: Layer, operation: str, x: Tensor) -> Tensor:
    axes = [axis for axis in range(x.rank) if layer.handle.axes >> axis & 1]
    return ar.reduce(ctx, operation, x, axes, True, operation.lower())


def tensor_of(tensor: Any) -> Tensor:
    """A static `ITensor` with its dtype and shape."""
    shape = tensor_shape(tensor)
    assert shape is not None
    return Tensor(tensor, from_trt(tensor.dtype), tuple(shape))
