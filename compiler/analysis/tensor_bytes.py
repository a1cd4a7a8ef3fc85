"""The bytes of a program's tensors at their usual sizes."""

from __future__ import annotations

import math

import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from ..ir.program import Program
from ..ir.symbol_ranges import symbol_ranges
from ..ir.symbols import UnderivableSize, dim_range, dims_of


class TensorBytes:
    """Bytes of the tensors of one program, with the opt sizes of its declared inputs.

    A program without declared inputs counts with the sizes it was exported with.
    """

    def __init__(self, program: Program) -> None:
        self._ranges = symbol_ranges(program)
        self._known: dict[str, int | None] = {}

    def of(self, node: Node) -> int | None:
        """Bytes of all tensors that a node yields; None where a size depends on values of tensors."""
        if node.name not in self._known:
            self._known[node.name] = self._sum(node)
        return self._known[node.name]

    def _sum(self, node: Node) -> int | None:
        total = 0
        value = node.meta.get("val")
        for leaf in (value,) if isinstance(value, torch.Tensor) else pytree.tree_leaves(value):
            size = self._bytes(leaf) if isinstance(leaf, torch.Tensor) else 0
            if size is None:
                return None
            total += size
        return total

    def _bytes(self, tensor: torch.Tensor) -> int | None:
        shape = tensor.shape
        if all(type(size) is int for size in shape):
            return tensor.element_size() * math.prod(shape)
        if free_unbacked_symbols(tensor):
            return None
        total = tensor.element_size()
        for dim in dims_of(shape):
            try:
                total *= dim_range(dim, self._ranges)[1]
            except UnderivableSize:
                return None
        return total


def bytes_text(count: int) -> str:
    """Bytes for people: "98 B", "1.5 KiB", "12 MiB"."""
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 10 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
