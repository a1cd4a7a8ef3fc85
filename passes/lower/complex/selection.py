"""Which complex operators are rewritten: those with a rule, where taking numbers apart and putting them together again
costs less than it gains."""

from __future__ import annotations

import operator
from collections.abc import Container, Iterator, Mapping
from typing import Any

import networkx as nx
import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from ....compiler.ir.aliasing import is_view
from ....compiler.ir.annotations import is_kept_view
from ....compiler.ir.dependencies import new_sizes
from ....compiler.ir.program import Program
from .found import has_complex
from .rewriting import is_complex

aten = torch.ops.aten

NO_RULE = "lower.complex has no rule for this operator"


def left_for_itself(node: Node, rules: Container[Any], wide: bool) -> str | None:
    """Why a complex operator stays as it is whatever is around it, or None.

    Args:
        node: reads or yields complex numbers.
        rules: the operators that have a rule.
        wide: whether complex128 may be rewritten, since it becomes float32.
    """
    values = [item.meta.get("val") for item in (node, *node.all_input_nodes)]
    tensors = [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, torch.Tensor)]
    if any(tensor.dtype is torch.complex32 for tensor in tensors):
        return "complex32, for which PyTorch itself has few operators, is not rewritten: compute in complex64"
    if any(tensor.dtype is torch.complex128 for tensor in tensors) and not wide:
        return "TensorRT has no float64 for the parts of complex128 (truncate_double=True computes them in float32)"
    if any(tensor.layout is not torch.strided for tensor in tensors):
        return "the parts of sparse tensors are not taken apart"
    if is_kept_view(node):
        return "the caller gets the result and what it is a view of"
    if new_sizes(node):
        return "the size of the result depends on the values of a tensor"
    if node.target not in rules and node.target is not operator.getitem:
        return NO_RULE
    return None


def left_for_others(program: Program, left: Mapping[str, str]) -> dict[str, str]:
    """The complex operators that have a rule, but would only add borders: each with the reason.

    Args:
        program: before anything is rewritten.
        left: the operators that stay as they are, by name.
    """
    graph = nx.Graph()
    chosen = [node for node in program.op_nodes if has_complex(node) and node.name not in left]
    graph.add_nodes_from(chosen)
    for node in chosen:
        graph.add_edges_from((node, source) for source in node.all_input_nodes if _carries(source) and source in graph)
    found = {}
    for group in nx.connected_components(graph):
        reason = _reason_against(group, left)
        found.update({node.name: reason for node in group} if reason is not None else {})
    return found


def _reason_against(group: set[Node], left: Mapping[str, str]) -> str | None:
    """Why a group of connected operators is not worth rewriting, or None."""
    inner = {(source, reader) for source, reader in _edges(group) if source.name in left or reader.name in left}
    crossing = {source for source, _ in inner}
    if not crossing:
        returned = any(reader.op == "output" for _, reader in _edges(group))
        return "it only makes a complex view for the caller" if returned and all(map(is_view, group)) else None
    count = sum(node.target is not operator.getitem for node in group)
    if count > len(crossing):
        return None
    names = sorted({item.name for edge in inner for item in edge if item.name in left})
    return f"it would only be put together again for what stays in PyTorch beside it: %{', %'.join(names)}"


def _edges(group: set[Node]) -> Iterator[tuple[Node, Node]]:
    """The complex values that enter and leave a group, with who reads them."""
    for node in group:
        for source in node.all_input_nodes:
            if source not in group and is_complex(source):
                yield source, node
        for reader in node.users:
            if reader not in group and _carries(node):
                yield node, reader


def _carries(node: Node) -> bool:
    """Whether a node yields complex numbers, in one tensor or several."""
    leaves = pytree.tree_leaves(node.meta.get("val"))
    return any(isinstance(leaf, torch.Tensor) and leaf.is_complex() for leaf in leaves)
