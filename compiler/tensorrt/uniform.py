"""Tensors of a network of which all elements are one number that is known while the network is built.

TensorRT-RTX 1.6 builds wrong kernels for logical layers that read such tensors (see `arithmetic.elementwise`), whatever
layers and sizes they come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch

from .dtypes import from_trt
from .layers import Layer
from .loader import tensor_shape

_POINTWISE = MappingProxyType(
    {
        "IActivationLayer": "ACTIVATION",
        "ICastLayer": "CAST",
        "IElementWiseLayer": "ELEMENTWISE",
        "IIdentityLayer": "IDENTITY",
        "ISelectLayer": "SELECT",
        "IUnaryLayer": "UNARY",
    }
)
"""Layers that compute each element from those in its place, and how the reference executor calls them."""


class UniformTensors:
    """The numbers of a network's uniform tensors, by the names of the tensors."""

    def __init__(self) -> None:
        self._numbers: dict[str, torch.Tensor] = {}

    def constant(self, tensor: Any, values: torch.Tensor) -> None:
        """Note a constant's `ITensor`, if its values are all equal."""
        if not values.numel():
            return
        row = values.detach().reshape(-1)
        # Weights are large, and most of them are told by their ends.
        if bool(row[0] == row[-1]) and bool((row == row[0]).all()):
            self._numbers[tensor.name] = row[0].clone()

    def number(self, tensor: Any) -> torch.Tensor | None:
        """The 0-d number of an `ITensor` that was noted."""
        return self._numbers.get(tensor.name)

    def result(self, layer: Any) -> torch.Tensor | None:
        """The 0-d number of a new layer's first result, noted for those that read it; None if it is not uniform."""
        inputs = [layer.get_input(index) for index in range(layer.num_inputs)]
        numbers = [None if tensor is None else self._numbers.get(tensor.name) for tensor in inputs]
        if not inputs or numbers[0] is None:
            return None
        kind = type(layer).__name__
        number: torch.Tensor | None = None
        if kind in _POINTWISE:
            number = _computed(layer, _POINTWISE[kind], inputs, numbers)
        elif kind in _MOVING:
            number = _MOVING[kind](layer, inputs, numbers)
        if number is not None:
            self._numbers[layer.get_output(0).name] = number
        return number


def _computed(layer: Any, kind: str, inputs: list[Any], numbers: list[torch.Tensor | None]) -> torch.Tensor | None:
    if any(number is None for number in numbers):
        return None
    from .executor.call import Call, ExecutorError
    from .executor.pointwise import HANDLERS

    dtype = from_trt(layer.get_output(0).dtype)
    read = Layer(kind, layer.name, layer.metadata, layer, tuple(inputs), (layer.get_output(0),))
    try:
        (number,) = HANDLERS[kind](Call(read, tuple(numbers), (dtype,), torch.device("cpu"), {}))
    except ExecutorError:
        return None  # such as a division of integers by zero
    return number.to(dtype)


def _reduced(layer: Any, inputs: list[Any], numbers: list[torch.Tensor | None]) -> torch.Tensor | None:
    number, operation = numbers[0], layer.op.name
    assert number is not None
    sizes = tensor_shape(inputs[0]) or ()
    count = math.prod(size for axis, size in enumerate(sizes) if layer.axes >> axis & 1)
    if operation in ("MAX", "MIN"):
        return number if count else None
    if operation == "SUM" and not bool(number):
        return number
    if any(size < 0 for size in sizes) or not count:
        return None
    if operation == "SUM":
        return number * count
    return number if operation == "AVG" or bool(number == 0) or bool(number == 1) else None


def _sliced(layer: Any, inputs: list[Any], numbers: list[torch.Tensor | None]) -> torch.Tensor | None:
    number = numbers[0]
    if layer.mode.name != "FILL":
        return number
    # What lies outside is zero, or the number that is given.
    filled = numbers[4] if len(inputs) > 4 and inputs[4] is not None else torch.zeros_like(numbers[0])  # type: ignore[arg-type]
    return _common([number, filled])


def _common(numbers: list[torch.Tensor | None]) -> torch.Tensor | None:
    first = numbers[0]
    equal = all(number is not None and bool(number == first) for number in numbers)
    return first if equal else None


_MOVING: Mapping[str, Callable[[Any, list[Any], list[torch.Tensor | None]], torch.Tensor | None]] = MappingProxyType(
    {
        "IConcatenationLayer": lambda layer, inputs, numbers: _common(numbers),
        "IGatherLayer": lambda layer, inputs, numbers: numbers[0],
        "IReduceLayer": _reduced,
        "IShuffleLayer": lambda layer, inputs, numbers: numbers[0],
        "ISliceLayer": _sliced,
    }
)
"""Layers whose results have the numbers of what they read."""
