"""The pass `lower.pack-projections`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch.fx import Node

from ...compiler.ir.aliasing import mutates
from ...compiler.ir.dtypes import HALVES
from ...compiler.ir.graph import insert_call, refresh_values
from ...compiler.ir.input import profile_count
from ...compiler.ir.program import Program
from ...compiler.pass_base import Context, Pass
from .head_views import Heads, heads_of
from .joined_products import columns_of, constant_nodes, join_products, joined, parameters
from .layout import Layout
from .values import remove_dead, same_sizes, tensor_of

aten = torch.ops.aten

_INPUTS: Mapping[Any, int] = MappingProxyType({aten.linear.default: 0, aten.addmm.default: 1})
"""Products, with the position of what they multiply by a weight."""


@dataclass(frozen=True)
class PackProjections(Pass):
    """Compute query, key and value of an attention by one product of halves, and cut it where its heads are apart.

    TensorRT-RTX moves each of the three by a kernel of its own otherwise, also if the model itself computes them by
    one product. Scalings by numbers come after the cut. For an engine with several optimization profiles all linear
    layers of one input become one, since the engine would have their weights twice otherwise.

    Before:
        %linear = aten.linear(%x, %p_query, %p_query_bias) : f16[2,5,32]
        %view = aten.view(%linear, [2, 5, 4, 8]) : f16[2,5,4,8]
        %permute = aten.permute(%view, [0, 2, 1, 3]) : f16[2,4,5,8]
        %linear_1 = aten.linear(%x, %p_key, %p_key_bias) : f16[2,5,32]
        %view_1 = aten.view(%linear_1, [2, 5, 4, 8]) : f16[2,5,4,8]
        %permute_1 = aten.permute(%view_1, [0, 2, 1, 3]) : f16[2,4,5,8]
    After:
        %p_query_packed = aten.cat([%p_query, %p_key]) : f16[64,16]
        %p_query_bias_packed = aten.cat([%p_query_bias, %p_key_bias]) : f16[64]
        %linear_packed = aten.linear(%x, %p_query_packed, %p_query_bias_packed) : f16[2,5,64]
        %view_2 = aten.view(%linear_packed, [2, 5, 8, 8]) : f16[2,5,8,8]
        %slice_1 = aten.slice.Tensor(%view_2, 2, 0, 4) : f16[2,5,4,8]
        %permute_2 = aten.permute(%slice_1, [0, 2, 1, 3]) : f16[2,4,5,8]
        %slice_2 = aten.slice.Tensor(%view_2, 2, 4, 8) : f16[2,5,4,8]
        %permute_3 = aten.permute(%slice_2, [0, 2, 1, 3]) : f16[2,4,5,8]
    """

    name: ClassVar[str] = "lower.pack-projections"

    def run(self, program: Program, ctx: Context) -> Program:
        """Edit the graph in place."""
        if mutates(program.graph):
            return program
        packed = [node for group in _groups(program) for node in _pack(group)]
        if profile_count(program.inputs) > 1:
            packed += join_products(program)
        remove_dead(program.graph)
        refresh_values(program.graph, packed)
        return program


@dataclass(frozen=True)
class _Projection:
    """A product whose result is read as heads only.

    Attributes:
        product: the call.
        input: what it multiplies; where its rows are exchanged first, the tensor before that.
        rows: a tensor whose first two of three dimensions are the rows of all parts; any, if they are numbers.
        parts: the heads.
    """

    product: Node
    input: Node
    rows: Node
    parts: list[Heads]


def _groups(program: Program) -> list[list[_Projection]]:
    """Products of the same input with heads of the same size: together, or alone if their parts are several."""
    alike: dict[Any, list[_Projection]] = {}
    constants = constant_nodes(program)
    for node in program.op_nodes:
        projection = _projection(node)
        if projection is None:
            continue
        # Weights that are computed at run time would have to be put together in every call.
        joins = node.target is aten.linear.default and constants.issuperset(parameters(node))
        key = (projection.input, projection.parts[0].size) if joins else node
        alike.setdefault(key, []).append(projection)
    return [group for group in alike.values() if _is_packable([part for item in group for part in item.parts])]


def _projection(node: Node) -> _Projection | None:
    tensor = tensor_of(node)
    if node.target not in _INPUTS or node.kwargs or tensor is None or tensor.dtype not in HALVES:
        return None
    source: Any = node.args[_INPUTS[node.target]]
    if node.target is aten.linear.default and source.target is aten.permute.default and source.args[1] == [1, 0, 2]:
        source, (inner, outer, columns) = source.args[0], tensor.shape
        start = Layout.contiguous((outer, inner, columns)).permute((1, 0, 2))
    else:
        start = Layout.contiguous(tensor.shape)
    parts = heads_of(node, start)
    rows = _rows_from(node, source, parts) if parts else None
    return _Projection(node, source, rows, parts) if parts and rows is not None else None


def _rows_from(product: Node, source: Node, parts: Sequence[Heads]) -> Node | None:
    """What `_Projection.rows` shall be; None if there is no such tensor."""
    if all(isinstance(size, int) for part in parts for size in part.rows):
        return product
    for node in (source, *product.users):
        tensor = tensor_of(node)
        if tensor is None or tensor.dim() != 3:
            continue
        if all(same_sizes(part.rows, tensor.shape[:2]) for part in parts):
            return node
    return None


def _is_packable(parts: Sequence[Heads]) -> bool:
    """Whether there are several parts, and all are heads of the same rows and size."""
    first = parts[0]
    return len(parts) > 1 and all(part.size == first.size and same_sizes(part.rows, first.rows) for part in parts)


def _pack(group: Sequence[_Projection]) -> list[Node]:
    """Put one product in place of a group, and return what stands for its parts.

    Nothing if weights are computed after the first product, or a part is read before the sizes of its rows are known.
    """
    first, part = group[0].product, group[0].parts[0]
    position = {node: index for index, node in enumerate(first.graph.nodes)}
    if any(position[item] > position[first] for other in group[1:] for item in parameters(other.product)):
        return []
    behind = max(first, group[0].rows, key=lambda node: position[node])
    readers = (user for item in group for heads in item.parts for user in heads.node.users)
    if any(position[user] < position[behind] for user in readers):
        return []
    starts = [
        total // part.size for total in itertools.accumulate((columns_of(item.product) for item in group), initial=0)
    ]
    with first.graph.inserting_before(behind.next):
        product = (
            first
            if len(group) == 1 and group[0].input in first.args
            else joined([item.product for item in group], group[0].input)
        )
        whole = _as_heads(product, part, group[0].rows, starts[-1])
        cuts = []
        for projection, start in zip(group, starts, strict=False):
            for item in projection.parts:
                cuts.append(_cut(whole, item, start))
                item.node.replace_all_uses_with(cuts[-1])
    return cuts


def _as_heads(product: Node, part: Heads, rows: Node, count: int) -> Node:
    """The product as [outer, inner, count, size], the first two as many as `rows` has."""
    sizes = [
        size if isinstance(size, int) else insert_call(product.graph, aten.sym_size.int, (rows, dim), like=product)
        for dim, size in enumerate(part.rows)
    ]
    return insert_call(product.graph, aten.view.default, (product, [*sizes, count, part.size]), like=product)


def _cut(whole: Node, part: Heads, start: int) -> Node:
    """One part of the heads, with its dimensions and scalings."""
    first = start + part.first
    node = insert_call(whole.graph, aten.slice.Tensor, (whole, 2, first, first + part.count), like=part.node)
    node = insert_call(whole.graph, aten.permute.default, (node, list(part.order)), like=part.node)
    for scaling in part.scalings:
        node = insert_call(whole.graph, scaling.target, (node, scaling.args[1]), like=scaling)
    return node
