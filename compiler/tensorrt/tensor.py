"""`Tensor`: a tensor of a network under construction, with its torch dtype and its symbolic shape."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch

from ..ir.dtypes import short_name
from ..ir.symbols import Dim

MAX_RANK = 8
"""Dimensions that a TensorRT tensor can have (`Dims.MAX_DIMS`)."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of a network under construction.

    Attributes:
        trt: TensorRT's `ITensor`, whose shape has -1 for every dynamic size.
        dtype: its data type.
        shape: its sizes; a dynamic one is an expression over the program's symbols.
        weak: whether it stands for a Python number, which gives way in type promotion.
        constant: values that broadcast to the tensor's, where they are known now.
    """

    trt: Any
    dtype: torch.dtype
    shape: tuple[Dim, ...]
    weak: bool = False
    constant: torch.Tensor | None = None

    @property
    def truth(self) -> bool | None:
        """What all elements of a tensor of booleans are, where it is known now."""
        values = self.constant
        if values is None or self.dtype != torch.bool or not values.numel():
            return None
        first = bool(values.flatten()[0])
        return first if bool((values == first).all()) else None

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def axis(self, dim: int) -> int:
        """A dimension counted from the front; 0 for the only one that PyTorch lets a 0-d tensor have."""
        return dim % self.rank if self.rank else 0

    def __str__(self) -> str:
        return f"{short_name(self.dtype)}[{','.join(str(size) for size in self.shape)}]"


@dataclass(frozen=True, eq=False)
class DeferredTensor:
    """A tensor whose layers are made when it is first used, of the rank that is asked for.

    Attributes:
        name: of the node that it is the value of.
        rank: its own.
        key: equal for tensors that are the same.
        layers: adds the layers, given a rank: dimensions of size 1 come in front.
    """

    name: str
    rank: int
    key: Hashable
    layers: Callable[[int], Tensor]


def is_float(dtype: torch.dtype) -> bool:
    """Whether a dtype is a floating-point type."""
    return dtype.is_floating_point


def is_integer(dtype: torch.dtype) -> bool:
    """Whether a dtype is an integer type; bool is none."""
    return not dtype.is_floating_point and not dtype.is_complex and dtype != torch.bool
