"""Products of parts of a tensor, split by a list of sizes that are read from a tensor, as one product for all rows.

JetMoE splits tokens that are sorted by expert in Python. The sizes are then numbers of the program, which TensorRT
cannot read from a tensor, although all that is done with them is this product. What PyTorch checks of such sizes (that
none is negative, and that they add up to the rows) is not checked any more.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from ...compiler.ir.graph import insert_call, refresh_values

aten = torch.ops.aten

_ON_NUMBERS = frozenset(
    {operator.add, operator.ge, operator.le, operator.eq, operator.gt, operator.lt, aten._assert_scalar.default}
)
_CHECKS = frozenset({aten._assert_scalar.default, aten.sym_constrain_range_for_size.default})


@dataclass(frozen=True)
class _Split:
    """A product of each part of `rows` [S,K] with a matrix of `weight` [E,N,K]; `counts` [E] are the rows of each."""

    rows: Node
    weight: Node
    counts: Node
    sizes: tuple[Node, ...]


def group_experts(graph: Graph) -> None:
    """Replace such products, in place, and the checks of sizes that nothing reads any more."""
    relaid, sizes = [], set[Node]()
    for node in graph.find_nodes(op="call_function", target=aten.cat.default):
        found = _matched(node)
        if found is not None:
            new = _product(graph, node, found)
            node.replace_all_uses_with(new)
            relaid.append(new)
            sizes |= set(found.sizes)
    if relaid:
        graph.eliminate_dead_code(lambda node: node.target in _CHECKS or node.is_impure())
        _erase_checks(graph, sizes)
        graph.eliminate_dead_code()
        refresh_values(graph, relaid)


def _matched(cat: Node) -> _Split | None:
    parts: Any = cat.args[0]
    if len(parts) < 2 or (cat.args[1:] or (0,))[0] not in (0, -2):
        return None
    splits, weights = set(), set()
    for number, part in enumerate(parts):
        if part.target is not aten.linear.default or len(part.args) > 2 or len(part.users) != 1:
            return None
        piece, matrix = part.args
        if piece.target is not operator.getitem or piece.args[1] != number:
            return None
        if matrix.target is not aten.select.int or tuple(matrix.args[1:]) != (0, number):
            return None
        splits.add(piece.args[0])
        weights.add(matrix.args[0])
    if len(splits) != 1 or len(weights) != 1:
        return None
    (split,), (weight,) = splits, weights
    if split.target is not aten.split_with_sizes.default or (split.args[2:] or (0,))[0] != 0:
        return None
    rows, sizes = split.args[0], tuple(split.args[1])
    counts = _counted(sizes)
    shaped = rows.meta["val"].dim() == 2 and weight.meta["val"].dim() == 3 and weight.meta["val"].shape[0] == len(parts)
    return _Split(rows, weight, counts, sizes) if counts is not None and shaped and len(sizes) == len(parts) else None


def _counted(sizes: Sequence[Any]) -> Node | None:
    """The vector whose elements, in order, the sizes are."""
    vectors = set()
    for number, size in enumerate(sizes):
        if not isinstance(size, Node) or size.target is not aten.item.default:
            return None
        element: Any = size.args[0]
        if element.target is not operator.getitem or element.args[1] != number:
            return None
        vectors.add(element.args[0])
    if len(vectors) != 1:
        return None
    (unbound,) = vectors
    if unbound.target is not aten.unbind.int or (unbound.args[1:] or (0,))[0] != 0:
        return None
    vector: Node = unbound.args[0]
    return vector if vector.meta["val"].shape[0] == len(sizes) else None


def _product(graph: Graph, cat: Node, found: _Split) -> Node:
    """Every matrix times all rows, of which each row's own is read."""

    def call(target: Any, *args: Any, **kwargs: Any) -> Node:
        return insert_call(graph, target, args, kwargs, like=cat)

    with graph.inserting_before(cat):
        count = found.rows.meta["val"].shape[0]
        size = count if isinstance(count, int) else call(aten.sym_size.int, found.rows, 0)
        device = found.rows.meta["val"].device
        ends = call(aten.cumsum.default, found.counts, 0)
        own = call(aten.unsqueeze.default, call(aten.arange.default, size, device=device), 1)
        passed = call(aten.ge.Tensor, own, call(aten.unsqueeze.default, ends, 0))
        expert = call(aten.sum.dim_IntList, passed, [1])
        expert = call(aten.clamp.default, expert, None, len(found.sizes) - 1)
        turned = call(aten.transpose.int, found.weight, 1, 2)
        every = call(aten.matmul.default, call(aten.unsqueeze.default, found.rows, 0), turned)
        by_row = call(aten.transpose.int, every, 0, 1)
        place = call(aten.unsqueeze.default, call(aten.unsqueeze.default, expert, 1), 2)
        place = call(aten.expand.default, place, [-1, 1, found.weight.meta["val"].shape[1]])
        return call(aten.squeeze.dim, call(aten.gather.default, by_row, 1, place), 1)


def _erase_checks(graph: Graph, sizes: set[Node]) -> None:
    """Erase what is checked of sizes that nothing else reads: not negative, and as many as there are rows together."""
    users = _users(sizes)
    if all(user.target in _ON_NUMBERS or user.target in _CHECKS for user in users):
        for node in reversed(graph.nodes):
            if node in users:
                graph.erase_node(node)


def _users(nodes: set[Node]) -> set[Node]:
    found: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        for user in waiting.pop().users:
            if user not in found:
                found.add(user)
                waiting.append(user)
    return found
