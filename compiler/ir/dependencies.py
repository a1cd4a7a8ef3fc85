"""The dependency graph that `partition` cuts into segments, made from the fx graph of a program."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Any

import networkx as nx
import sympy
import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_symbols, free_unbacked_symbols
from torch.utils import _pytree as pytree

from .program import Program, is_getitem, is_symbolic
from .sequence import in_sequence
from .symbols import example_size

_aten = torch.ops.aten
SHAPE_QUERIES = frozenset(
    {_aten.sym_size.int, _aten.sym_stride.int, _aten.sym_numel.default, _aten.sym_storage_offset.default}
)
"""Operators that read the shape of a tensor, not its values."""


def producer_of(node: Node) -> Node:
    """The operator whose result a `getitem` picks; any other node itself."""
    while is_getitem(node) and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def reads_values(node: Node) -> bool:
    """Whether a node turns values of a tensor into a number, such as `item()`."""
    return is_symbolic(node) and node.target not in SHAPE_QUERIES and bool(_tensor_operands(node))


def symbols_of(node: Node) -> set[sympy.Symbol]:
    """The symbols in a size, or in the shapes of the tensors that a node yields."""
    return set().union(*(free_symbols(leaf) for leaf in _sized_leaves(node.meta.get("val"))))


def data_dependent(value: Any) -> set[sympy.Symbol]:
    """The sizes in a node's value that depend on the values of tensors."""
    return set().union(*map(free_unbacked_symbols, _sized_leaves(value)))


def new_sizes(node: Node) -> set[sympy.Symbol]:
    """The data-dependent sizes in a node's result that no input of it has."""
    known = (data_dependent(source.meta.get("val")) for source in node.all_input_nodes)
    return data_dependent(node.meta.get("val")).difference(*known)


def plain_dimensions(node: Node) -> set[sympy.Symbol]:
    """The symbols that are the size of a dimension of a tensor, so that its shape tells their value."""
    sizes: list[Any] = [
        size for leaf in _sized_leaves(node.meta.get("val")) if isinstance(leaf, torch.Tensor) for size in leaf.shape
    ]
    return {size.node.expr for size in sizes if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol}


def dependency_graph(program: Program, wanted: Container[str]) -> nx.DiGraph:
    """The graph that `segmentation.segment` takes: a node for each fx node, except that `getitem` joins its producer.

    Free are constants and sizes made of symbols of the inputs. Sizes that depend on values of tensors ("unbacked")
    come after the node that determines them, which need not be the one whose shape is read. What must run in the
    model's sequence comes one after the other.

    Args:
        program: the program.
        wanted: names of the op nodes that can go to TensorRT.
    """
    graph, constants = nx.DiGraph(), program.constants
    definer: dict[sympy.Symbol, str] = {}
    for order, node in enumerate(program.graph.nodes):
        leader = producer_of(node)
        if leader is node:
            graph.add_node(node.name, side=_side(node, wanted, constants), nbytes=_nbytes(node), order=order)
        unbacked = data_dependent(node.meta.get("val"))
        if is_symbolic(node) and node.target in SHAPE_QUERIES:
            sources = [definer[symbol] for symbol in sorted(unbacked, key=str) if symbol in definer]
        else:
            sources = [producer_of(source).name for source in node.all_input_nodes]
        graph.add_edges_from((source, leader.name) for source in sources if source != leader.name)
        for symbol in unbacked:
            definer.setdefault(symbol, leader.name)
    graph.add_edges_from((before.name, after.name) for before, after in in_sequence(program.graph.nodes))
    return graph


def _side(node: Node, wanted: Container[str], constants: Container[str]) -> str:
    if node.op in ("placeholder", "get_attr"):
        return "free" if node.name in constants or node.op == "get_attr" or is_symbolic(node) else "torch"
    if is_symbolic(node):
        return "torch" if data_dependent(node.meta.get("val")) or reads_values(node) else "free"
    return "trt" if node.name in wanted else "torch"


def _sized_leaves(value: Any) -> list[torch.Tensor | torch.SymInt | torch.SymFloat | torch.SymBool]:
    kinds = torch.Tensor | torch.SymInt | torch.SymFloat | torch.SymBool
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, kinds)]


def _tensor_operands(node: Node) -> list[Node]:
    return [source for source in node.all_input_nodes if isinstance(source.meta.get("val"), torch.Tensor)]


def _nbytes(node: Node) -> int:
    """Bytes of all tensors that a node yields, with the sizes of the example inputs; unknown sizes count as 1."""
    tensors = [leaf for leaf in _sized_leaves(node.meta.get("val")) if isinstance(leaf, torch.Tensor)]
    return sum(tensor.element_size() * math.prod(map(_size_hint, tensor.shape)) for tensor in tensors)


def _size_hint(size: int | torch.SymInt) -> int:
    known = example_size(size)
    return 1 if known is None else known
