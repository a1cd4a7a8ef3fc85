"""What TensorRT holds in float32 where a network says halves: the scores of attention that it makes one kernel of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from ...ir.dtypes import HALVES
from ..dtypes import from_trt
from ..layers import Layer

_BETWEEN = frozenset({"ELEMENTWISE", "SELECT"})
"""Layers that scale and mask scores."""


def scores_in_float32(layers: Iterable[Layer]) -> frozenset[str]:
    """The products of halves that are cast to float32, scaled and masked, and go into a softmax: their tensors' names.

    TensorRT makes one kernel of these layers and the product with the values, and adds up and keeps scores in float32
    there. Measured on an H200, float16 and bfloat16, heads of 16 to 128, 5 to 1,024 keys: scores of 1 to 10 million are
    as exact as PyTorch's, where rounding them would change weights by percents, and the largest overflow.
    """
    readers: Mapping[str, list[Layer]] = defaultdict(list)
    listed = list(layers)
    for layer in listed:
        for tensor in layer.inputs:
            if tensor is not None:
                readers[tensor.name].append(layer)
    products = [layer.outputs[0] for layer in listed if layer.kind == "MATRIX_MULTIPLY"]
    return frozenset(tensor.name for tensor in products if _is_score(tensor, readers))


def _is_score(tensor: Any, readers: Mapping[str, Sequence[Layer]]) -> bool:
    if from_trt(tensor.dtype) not in HALVES:
        return False
    cast = _only_reader(tensor, readers)
    if cast is None or cast.kind != "CAST" or from_trt(cast.outputs[0].dtype) != torch.float32:
        return False
    following: Layer | None = cast
    while following is not None:
        following = _only_reader(following.outputs[0], readers)
        if following is None or following.kind == "SOFTMAX":
            break
        if following.kind not in _BETWEEN:
            return False
    return following is not None


def _only_reader(tensor: Any, readers: Mapping[str, Sequence[Layer]]) -> Layer | None:
    found = readers.get(tensor.name, ())
    return found[0] if len(found) == 1 and not tensor.is_network_output else None
