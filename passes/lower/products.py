"""Which matrix products of a program compute in which type, and why not in the one that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.fx import Node

from ...compiler.ir.program import Program
from ...compiler.ir.source import source_of
from ...compiler.ir.text import op_name
from .casts import has_dtype
from .precision_table import OTHER_PRODUCTS, computes_narrow

_NAMED = 12
"""Products that a note names for each reason; the rest is counted."""


@dataclass(frozen=True)
class Product:
    """A matrix product, convolution, attention or embedding: its type, and why it stays in it (None: as asked for)."""

    node: str
    op: str
    dtype: torch.dtype
    source: str | None
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.node} ({self.op}{f', {self.source}' if self.source else ''})"


def products_of(program: Program, kept: Mapping[Node, str], narrow: torch.dtype) -> tuple[Product, ...]:
    """All products of floats, in graph order.

    Args:
        program: before types were changed.
        kept: the products that stay in float32 by a decision, each with the reason.
        narrow: the type that the others in float32 get.
    """
    found = []
    for node in program.op_nodes:
        reason: str | None
        if node.target in OTHER_PRODUCTS and has_dtype(node, torch.float32):
            reason, dtype = "its operator is never computed in less", torch.float32
        elif computes_narrow(node.target):
            own = _dtype_of(node)
            if own is None or not (own.is_floating_point or own.is_complex):
                continue
            dtype = narrow if own is torch.float32 else own
            reason = None if dtype is narrow else "the type that it has in the model"
            if node in kept:
                reason, dtype = kept[node], torch.float32
        else:
            continue
        found.append(Product(node.name, op_name(node.target), dtype, source_of(node), reason))
    return tuple(found)


def _dtype_of(node: Node) -> torch.dtype | None:
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return next((item.dtype for item in values if isinstance(item, torch.Tensor)), None)


def products_text(products: tuple[Product, ...]) -> str:
    """How many products compute in which type, and which do not in the one asked for, and why: a few sentences."""
    if not products:
        return "There are no matrix products, convolutions, attentions or embeddings."
    counts: dict[str, int] = {}
    reasons: dict[str, list[Product]] = {}
    for product in products:
        counts[type_name(product.dtype)] = counts.get(type_name(product.dtype), 0) + 1
        if product.reason is not None:
            reasons.setdefault(f"{type_name(product.dtype)}, {product.reason}", []).append(product)
    shares = ", ".join(f"{count} in {name}" for name, count in counts.items())
    parts = [f"Of {len(products)} products (matrix products, convolutions, attentions, embeddings) {shares}."]
    for reason, group in reasons.items():
        rest = f" and {len(group) - _NAMED} more" if len(group) > _NAMED else ""
        parts.append(f"In {reason}: {', '.join(map(str, group[:_NAMED]))}{rest}.")
    return " ".join(parts)


def type_name(dtype: torch.dtype) -> str:
    """A dtype as users write it, such as "float16"."""
    return str(dtype).removeprefix("torch.")
