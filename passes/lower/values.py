"""What the lowering passes ask about nodes: their tensors, sizes and effects."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import torch
from torch.fx import Graph, Node

from ...compiler.ir.operators import DEQUANTIZERS, QUANTIZE
from ...compiler.ir.program import is_symbolic
from ...compiler.ir.symbols import same_size

ASSERTIONS = frozenset(
    {
        torch.ops.aten._assert_async.default,
        torch.ops.aten._assert_async.msg,
        torch.ops.aten._assert_scalar.default,
        torch.ops.aten._assert_tensor_metadata.default,
        torch.ops.aten.sym_constrain_range.default,
        torch.ops.aten.sym_constrain_range_for_size.default,
    }
)

_QUANTIZERS = frozenset({QUANTIZE, *DEQUANTIZERS})

PURE_NAMESPACES = frozenset({"aten", "prims"})


def tensor_of(argument: object) -> torch.Tensor | None:
    """The fake tensor that a node stands for; None if it is no node or yields something else."""
    value = argument.meta.get("val") if isinstance(argument, Node) else None
    return value if isinstance(value, torch.Tensor) else None


def value_of(argument: object) -> torch.Tensor:
    """Like `tensor_of`, of an argument that is the node of a tensor.

    Raises:
        TypeError: it is not.
    """
    value = tensor_of(argument)
    if value is None:
        raise TypeError(f"{argument} is no node that yields a tensor")
    return value


def node_of(argument: object) -> Node:
    """An argument that is a node; TypeError if it is none."""
    if not isinstance(argument, Node):
        raise TypeError(f"{argument} is no node")
    return argument


def same_sizes(left: Sequence[int | torch.SymInt], right: Sequence[int | torch.SymInt]) -> bool:
    """Whether two shapes (or strides) are equal for every size that the symbols in them may take."""
    return len(left) == len(right) and all(map(same_size, left, right))


def same_type(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors agree in dtype, device and layout (strided or sparse)."""
    return (left.dtype, left.device, left.layout) == (right.dtype, right.device, right.layout)


def same_layout(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors agree in everything but their values: type, sizes and strides."""
    return (
        same_type(left, right)
        and same_sizes(left.shape, right.shape)
        and left.layout is torch.strided
        and same_sizes(left.stride(), right.stride())
    )


def static_bytes(tensor: torch.Tensor) -> int | None:
    """Size of a tensor's elements in bytes (broadcast ones counted); None if a dimension is symbolic."""
    if not all(isinstance(size, int) for size in tensor.shape):
        return None
    return math.prod(tensor.shape) * tensor.element_size()


def is_pure(node: Node) -> bool:
    """Whether the node does nothing but compute its result, the same one each time."""
    if node.op != "call_function" or node.target in ASSERTIONS:
        return False
    if isinstance(node.target, torch._ops.OpOverload):
        return (
            (node.target.namespace in PURE_NAMESPACES or node.target in _QUANTIZERS)
            and not node.target._schema.is_mutable
            and torch.Tag.nondeterministic_seeded not in node.target.tags
            and not node.is_impure()
        )
    return node.target is operator.getitem or is_symbolic(node)


def remove_dead(graph: Graph) -> int:
    """Erase the pure nodes that nothing reads, and those that only they read; returns how many."""
    erased = 0
    for node in reversed(list(graph.nodes)):
        if not node.users and (is_pure(node) or node.op == "get_attr"):
            graph.erase_node(node)
            erased += 1
    return erased
