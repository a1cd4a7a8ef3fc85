"""Where TensorRT-RTX has a kernel of its own for group norm."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import torch
from torch.fx import Node

from ...compiler.ir.call import Call
from ...compiler.ir.program import is_getitem

aten = torch.ops.aten

_CONVOLUTIONS = frozenset({aten.convolution.default})
_PASSED_THROUGH = frozenset(
    {aten.cat.default, aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default, aten.avg_pool2d.default}
)
"""Operators, beside those on single elements, behind which images still lie as convolutions write them."""


def has_group_kernel(call: Call, groups: int, nodes: Collection[str]) -> bool:
    """Whether a group norm is one whose kernel runs: of images between convolutions, of a multiple of 64 channels.

    The kernel reads images with channels last, as convolutions write them. Elsewhere TensorRT-RTX 1.6 makes kernels of
    the same layers that have no execution context on an H200 ("Compatible cubin or ptx module for device target '90'
    not found"), unless the groups are small. Microseconds there, of a convolution, the norm of [2, 320, 64, 64] in 32
    groups, SiLU and another convolution: 101 with this kernel, and 121 with others.

    Args:
        call: of group norm.
        groups: how many groups there are.
        nodes: the names of the network's nodes.
    """
    x = call.value("input")
    if x.dim() != 4 or groups == 1 or x.shape[1] % 64:
        return False
    before = _reaches([call.arg("input")], lambda node: node.all_input_nodes, nodes)
    return before and _reaches(call.node.users, lambda node: node.users, nodes)


def _reaches(starts: Iterable[Node], following: Callable[[Node], Iterable[Node]], nodes: Collection[str]) -> bool:
    """Whether a convolution is reached from some nodes by way of operators that leave images as they lie."""
    waiting = list(starts)
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if node.name in nodes and node.target in _CONVOLUTIONS:
            return True
        if node.name in nodes and _passes_through(node):
            found = [item for item in following(node) if item not in seen]
            seen.update(found)
            waiting += found
    return False


def _passes_through(node: Node) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload):
        return is_getitem(node)
    return node.target in _PASSED_THROUGH or torch.Tag.pointwise in node.target.tags
