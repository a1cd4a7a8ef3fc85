"""Attention with few keys or small heads, which is computed wrongly in halves of float32."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.fx import Node

from ...compiler.ir.program import Program
from .values import tensor_of

aten = torch.ops.aten

_LEAST = 16
_PRODUCTS = frozenset({aten.matmul, aten.bmm})
_BETWEEN = frozenset(
    {
        *(aten.mul, aten.div, aten.add, aten.sub, aten.masked_fill, aten.where, aten.dropout, aten._to_copy),
        *(aten.view, aten.reshape, aten.unsqueeze, aten.squeeze, aten.expand, aten.clone, aten.alias),
    }
)
"""What may lie between a softmax and the products of attention: scaling, masks, shapes."""


def small_attention(program: Program) -> Mapping[str, str]:
    """The reasons for which products of attention stay in float32: fewer than 16 keys or numbers of a head.

    Where float32 is cast to halves for it, TensorRT-RTX 1.6 computes such attention wrongly on an H200 (64 queries of a
    batch of 2, with 6 or 8 keys of 4 or 8 numbers); 16 keys of 32 numbers are right, and in float32 all of them are.
    """
    found: dict[str, str] = {}
    for node in program.op_nodes:
        products = _products(node)
        if products and _is_small(products[0]):
            reason = f"attention with fewer than {_LEAST} keys or numbers of a head"
            found.update((product.name, reason) for product in products)
    return found


def _products(node: Node) -> list[Node]:
    """The products of attention whose softmax the node is: first that of queries and keys. Attention is one itself."""
    if node.target is aten.scaled_dot_product_attention.default:
        return [node]
    if _packet(node) not in (aten.softmax, aten._softmax):
        return []
    source: Node | None = node.all_input_nodes[0]
    while source is not None and _packet(source) in _BETWEEN:
        tensors = [item for item in source.all_input_nodes if tensor_of(item) is not None]
        source = max(tensors, key=lambda item: _packet(item) in _PRODUCTS | _BETWEEN, default=None)
    if source is None or _packet(source) not in _PRODUCTS:
        return []
    readers, after = list(node.users), []
    while readers:
        reader = readers.pop()
        if _packet(reader) in _PRODUCTS:
            after.append(reader)
        elif _packet(reader) in _BETWEEN:
            readers += reader.users
    return [source, *after] if after else []


def _packet(node: Node) -> object:
    return getattr(node.target, "overloadpacket", None)


def _is_small(product: Node) -> bool:
    """Whether heads or keys are few; sizes that vary count as many."""
    query, key = (tensor_of(item) for item in product.all_input_nodes[:2])
    if query is None or key is None or min(query.dim(), key.dim()) < 2:
        return False
    return any(isinstance(size, int) and size < _LEAST for size in (query.shape[-1], *key.shape[-2:]))
