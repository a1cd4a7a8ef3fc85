"""Whether a graph can be captured as a CUDA graph, told by looking at it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from ...ir.aliasing import written_by
from ...ir.engine_operator import OPERATOR
from ...ir.randomness import draws
from ...ir.text import op_name

_WAITING = MappingProxyType(
    {
        torch.Tag.data_dependent_output: "gives a number that the host waits for",
        torch.Tag.dynamic_output_shape: "gives a tensor whose size depends on data",
        torch.Tag.cudagraph_unsafe: "cannot run in a CUDA graph",
    }
)
"""Tags of operators that PyTorch itself marks."""

_INDEXING = ("index", "_unsafe_index", "_index_put")
_WAITING_NAMES = frozenset({"cholesky", "_ctc_loss", "segment_reduce"})
"""Operators without such a tag that wait for the GPU all the same (tried with PyTorch 2.11 on an H200)."""

_LINALG = ("linalg_", "_linalg_")
_LINALG_NAMES = frozenset(
    {
        *("linalg_inv_ex", "linalg_cholesky_ex", "linalg_solve_ex", "_linalg_solve_ex", "linalg_lu_factor_ex"),
        *("linalg_det", "_linalg_det", "linalg_solve_triangular", "linalg_householder_product"),
        *("linalg_vector_norm", "linalg_cross", "linalg_vecdot", "linalg_diagonal"),
    }
)
"""Those that do not wait, as most of linear algebra does: the libraries behind it check results on the host."""


def obstacle(graph: Graph, device: torch.device | None = None) -> str | None:
    """What in a graph prevents its capture, as a clause such as "%nonzero (aten.nonzero) gives …"; None if nothing.

    Calls of engines are taken to be capturable, and random operators too: PyTorch advances the state of the GPU's
    default generator in every replay.

    Args:
        graph: of operator calls.
        device: the GPU on which it is to run; None if that is not known yet.
    """
    for node in graph.nodes:
        if node.op == "call_function" and node.target is not OPERATOR:
            reason = _reason(node, device)
            if reason is not None:
                return f"%{node.name} ({op_name(node.target)}) {reason}"
    return None


def _reason(node: Node, device: torch.device | None) -> str | None:
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        return "decides on the host what runs"
    if any(free_unbacked_symbols(leaf) for leaf in pytree.tree_leaves(node.meta.get("val")) if _has_sizes(leaf)):
        return "has a size that depends on data"
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    name = node.target._schema.name.partition("::")[2]
    # These have the tag for masks, which are told from other indices below.
    by_index = name.startswith(_INDEXING)
    for tag, words in _WAITING.items():
        if tag in node.target.tags and not by_index:
            return words
    waits = name in _WAITING_NAMES or (name.startswith(_LINALG) and name not in _LINALG_NAMES)
    if waits or _finds_its_range(node) or (by_index and _has_mask(node)):
        return "makes the host wait for the GPU"
    if node.kwargs.get("generator") is not None:
        return "draws random numbers from a generator of its own"
    wanted = node.kwargs.get("device")
    if device is not None and isinstance(wanted, torch.device) and wanted.type != device.type:
        return f"makes a tensor on {wanted}"
    return _written_in_place(node)


def _has_sizes(value: Any) -> bool:
    return isinstance(value, torch.Tensor | torch.SymInt | torch.SymFloat | torch.SymBool)


def _finds_its_range(node: Node) -> bool:
    """Whether a histogram has no limits of its own: PyTorch then reads the smallest and largest value."""
    return node.target is torch.ops.aten.histc.default and node.args[2:4] in ((), (0,), (0, 0))


def _has_mask(node: Node) -> bool:
    """Whether an index is a mask: PyTorch counts its true values on the host."""
    indices = (leaf for leaf in pytree.tree_leaves(node.args[1]) if isinstance(leaf, Node))
    values = (index.meta.get("val") for index in indices)
    return any(isinstance(value, torch.Tensor) and value.dtype in (torch.bool, torch.uint8) for value in values)


def _written_in_place(node: Node) -> str | None:
    for target in written_by(node):
        if target.op not in ("placeholder", "get_attr"):
            return f"writes to %{target.name}, which may share memory with an input"
    return None


def draws_random_numbers(graph: Graph) -> bool:
    """Whether the graph advances PyTorch's default generator."""
    return any(map(draws, graph.nodes))


def attributes_read(module: GraphModule) -> list[str]:
    """The tensors that what runs in PyTorch reads, by name."""
    return [
        str(node.target)
        for node in module.graph.find_nodes(op="get_attr")
        if any(user.target is not OPERATOR for user in node.users)
    ]
