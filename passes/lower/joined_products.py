"""Products of one input by several weights as one product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from ...compiler.ir.graph import insert_call
from ...compiler.ir.operators import DEQUANTIZERS
from ...compiler.ir.program import Program
from .casts import named
from .values import is_pure, tensor_of

aten = torch.ops.aten

LEAST_WIDTH = 8
"""Of what all products have a multiple of columns of: cutting what is narrower would cost more than it spares."""


def join_products(program: Program) -> list[Node]:
    """Compute all linear layers of the same input by one; what stands for them.

    For an engine with several optimization profiles. TensorRT-RTX joins such products itself, but in one layout of
    their weights where there is one row, and in another where there are several: the engine then has them twice.
    """
    constants = {node for node in constant_nodes(program) if not _is_quantised(node)}
    alike: dict[Any, list[Node]] = {}
    for node in program.op_nodes:
        weight = tensor_of(node.args[1]) if node.target is aten.linear.default and len(node.args) > 1 else None
        if weight is not None and weight.dim() == 2 and not node.kwargs and constants.issuperset(parameters(node)):
            alike.setdefault(node.args[0], []).append(node)
    order = {node: index for index, node in enumerate(program.graph.nodes)}
    return [part for group in alike.values() for part in _parts(group, order)]


def _is_quantised(weight: Node) -> bool:
    """Whether it is made of fewer bits, which the engine keeps: put together with others it would be kept in full."""
    return weight.target in DEQUANTIZERS or any(map(_is_quantised, weight.all_input_nodes))


def _parts(group: Sequence[Node], order: dict[Node, int]) -> list[Node]:
    first = group[0]
    group = [node for node in group if all(order[item] < order[first] for item in parameters(node))]
    width = math.gcd(*map(columns_of, group))
    if len(group) < 2 or width < LEAST_WIDTH:
        return []
    with first.graph.inserting_before(first):
        parts = cut(joined(group, first.args[0]), group)
    for node, part in zip(group, parts, strict=True):
        node.replace_all_uses_with(part)
    return parts


def cut(product: Node, group: Sequence[Node]) -> list[Node]:
    """The columns of a product that each of a group had, which stand where nodes are inserted."""
    graph, rows, width = product.graph, _rows(product), math.gcd(*map(columns_of, group))
    # Cut in a dimension that the product has not: TensorRT-RTX would make several products of cut columns again.
    count = sum(map(columns_of, group)) // width
    blocks = insert_call(graph, aten.view.default, (product, [*rows, count, width]), like=group[0])
    parts, start = [], 0
    for node in group:
        end = start + columns_of(node) // width
        piece = insert_call(graph, aten.slice.Tensor, (blocks, len(rows), start, end), like=node)
        parts.append(insert_call(graph, aten.view.default, (piece, [*rows, columns_of(node)]), like=node))
        start = end
    return parts


def _rows(product: Node) -> list[Any]:
    """All sizes of a product but the last."""
    tensor = tensor_of(product)
    assert tensor is not None
    return [
        size if isinstance(size, int) else insert_call(product.graph, aten.sym_size.int, (product, dim), like=product)
        for dim, size in enumerate(tensor.shape[:-1])
    ]


def joined(group: Sequence[Node], source: Any) -> Node:
    """One linear layer in place of several, all of which multiply `source`; it is put where nodes are inserted."""
    first, graph = group[0], group[0].graph
    biases: list[Any] = [node.args[2] if len(node.args) > 2 else None for node in group]
    args = [source, _concatenated([node.args[1] for node in group], first)]
    if any(bias is not None for bias in biases):
        tensor = tensor_of(first)
        assert tensor is not None
        kind = {"dtype": tensor.dtype, "device": tensor.device}
        filled = [
            insert_call(graph, aten.full.default, ([columns_of(node)], 0.0), kind, like=first) if bias is None else bias
            for node, bias in zip(group, biases, strict=True)
        ]
        args.append(_concatenated(filled, first))
    return named(insert_call(graph, aten.linear.default, tuple(args), like=first), f"{first.name}_packed")


def _concatenated(parts: list[Any], like: Node) -> Any:
    if len(parts) == 1:
        return parts[0]
    return named(insert_call(like.graph, aten.cat.default, (parts,), like=like), f"{parts[0].name}_packed")


def columns_of(product: Node) -> int:
    """How many a linear layer computes."""
    tensor = tensor_of(product)
    assert tensor is not None
    return int(tensor.shape[-1])


def parameters(linear: Node) -> list[Node]:
    """The weight of a linear layer, and its bias if it has one."""
    return [argument for argument in linear.args[1:] if isinstance(argument, Node)]


def constant_nodes(program: Program) -> set[Node]:
    """Parameters, buffers and constants, and what is computed from nothing else."""
    nodes = program.nodes_by_name
    found = {nodes[name] for name in program.constants}
    for node in program.op_nodes:
        if node.all_input_nodes and is_pure(node) and found.issuperset(node.all_input_nodes):
            found.add(node)
    return found
