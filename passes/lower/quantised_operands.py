"""Products, and which of their arguments are multiplied."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch.fx import Node

from ...compiler.ir.dtypes import HALVES
from ...compiler.ir.operators import DEQUANTIZE, QUANTIZE
from .values import node_of, value_of

aten = torch.ops.aten

MATRIX_PRODUCTS: Mapping[Any, tuple[int, int]] = MappingProxyType(
    {
        aten.linear.default: (0, 1),
        aten.mm.default: (0, 1),
        aten.bmm.default: (0, 1),
        aten.matmul.default: (0, 1),
        aten.addmm.default: (1, 2),
        aten.baddbmm.default: (1, 2),
    }
)
CONVOLUTIONS: Mapping[Any, tuple[int, int]] = MappingProxyType(
    {
        aten.convolution.default: (0, 1),
        aten.conv1d.default: (0, 1),
        aten.conv2d.default: (0, 1),
        aten.conv3d.default: (0, 1),
    }
)
PRODUCTS: Mapping[Any, tuple[int, int]] = MappingProxyType({**MATRIX_PRODUCTS, **CONVOLUTIONS})
"""Where a product has its two operands; of those with a weight, it is the second."""

MOVES = frozenset(
    {
        *(aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.permute.default),
        *(aten.transpose.int, aten.t.default, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims),
        *(aten.slice.Tensor, aten.select.int, aten.expand.default, aten.clone.default, aten.alias.default),
    }
)
"""Operators that move the elements of one tensor, and compute nothing."""

_SCALINGS = frozenset({aten.mul.Tensor, aten.add.Tensor, aten.view.default, aten.reshape.default})


@dataclass(frozen=True)
class Operand:
    """A quantised operand of a product: the call that dequantises it, and that which quantises it (None: stored)."""

    dequantize: Node
    quantize: Node | None

    @property
    def dtype(self) -> torch.dtype:
        """The type that its numbers are stored in."""
        return value_of(self.dequantize.args[0]).dtype


def operands_of(product: Node) -> tuple[Node, Node]:
    """The two nodes that a product multiplies."""
    left, right = PRODUCTS[product.target]
    return node_of(product.args[left]), node_of(product.args[right])


def quantised(node: Node) -> Operand | None:
    """A node as a quantised operand, or None."""
    if node.target is not DEQUANTIZE:
        return None
    source = node_of(node.args[0])
    return Operand(node, source if source.target is QUANTIZE else None)


def rounded_to(node: Node, steps: int, kept: Collection[torch.dtype] = ()) -> torch.dtype | None:
    """The half type that a product becomes after it was scaled and a bias added; None if it becomes none.

    Args:
        node: the product.
        steps: how many operators to look at.
        kept: types that it may be cast to before.
    """
    for _ in range(steps):
        if len(node.users) != 1:
            return None
        node = next(iter(node.users))
        if node.target is aten._to_copy.default:
            dtype = value_of(node).dtype
            if dtype not in kept:
                return dtype if dtype in HALVES else None
        elif node.target not in _SCALINGS:
            return None
    return None
