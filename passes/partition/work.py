"""Which op nodes are worth an engine by themselves: what counts where `min_block_size` is not given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import networkx as nx
import torch
from torch.fx import Node

from ...compiler.ir.operators import GRU, LSTM, QUANTIZE, RNN_RELU, RNN_TANH, SCALED_PRODUCT
from ...compiler.ir.program import Program, bodies_of
from ...compiler.ir.symbols import example_size
from ...compiler.settings import DEFAULT_BLOCK_SIZE

aten = torch.ops.aten

OPERATIONS = 1 << 30
"""Multiplications and additions that are worth an engine: some 10 to 30 microseconds of a GPU, the time in which it
would launch a handful of small kernels."""

_RECURRENT = frozenset(
    {LSTM, GRU, RNN_TANH, RNN_RELU, aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input}
)
_WITH_WEIGHT = frozenset(
    {aten.linear.default, aten.convolution.default, aten.conv1d.default, aten.conv2d.default, aten.conv3d.default}
)
_PRODUCTS = frozenset({aten.mm.default, aten.bmm.default, aten.matmul.default})
_ADDED_PRODUCTS = frozenset({aten.addmm.default, aten.baddbmm.default})


def note_heavy(graph: nx.DiGraph, program: Program) -> None:
    """Set the attribute `heavy` of the nodes of a dependency graph that are worth an engine by themselves."""
    for node in program.op_nodes:
        if node.name in graph and is_heavy(node):
            graph.nodes[node.name]["heavy"] = True


def is_heavy(node: Node) -> bool:
    """Whether a node does the work of many: recurrent layers, loops and branches, and large products.

    What quantises for a product in PyTorch does, too: it is one kernel with what is before it, and several in PyTorch.
    """
    if node.target in _RECURRENT or (node.target is QUANTIZE and any(u.target is SCALED_PRODUCT for u in node.users)):
        return True
    bodies = bodies_of(node)
    if bodies:
        inner = sum(item.op == "call_function" for body in bodies.values() for item in body.graph.nodes)
        return bool(inner >= DEFAULT_BLOCK_SIZE)
    return operations(node) >= OPERATIONS


def operations(node: Node) -> int:
    """Multiplications and additions of a matrix product, convolution or attention, for the usual sizes; else 0."""
    out, args = _shape(node.meta.get("val")), node.args
    if out is None:
        return 0
    if node.target in _WITH_WEIGHT:
        weight = _shape_of(args[1])
        transposed = node.target is aten.convolution.default and len(args) > 6 and bool(args[6])
        size = math.prod(_shape_of(args[0])) if transposed else math.prod(out)
        return 2 * size * math.prod(weight[1:])
    if node.target in _PRODUCTS or node.target in _ADDED_PRODUCTS:
        left = _shape_of(args[node.target in _ADDED_PRODUCTS])
        return 2 * math.prod(out) * (left[-1] if left else 1)
    if node.target is aten.scaled_dot_product_attention.default:
        keys = _shape_of(args[1])
        query = _shape_of(args[0])
        return 4 * math.prod(query) * (keys[-2] if len(keys) > 1 else 1)
    return 0


def _shape_of(argument: Any) -> Sequence[int]:
    return (_shape(argument.meta.get("val")) if isinstance(argument, Node) else None) or ()


def _shape(value: Any) -> Sequence[int] | None:
    if not isinstance(value, torch.Tensor):
        return None
    return [1 if (size := example_size(item)) is None else size for item in value.shape]
