"""Products, and which of their arguments are multiplied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch.fx import Node

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
