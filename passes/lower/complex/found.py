"""Which nodes of a graph have to do with complex numbers."""

from __future__ import annotations

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree


def has_complex(node: Node) -> bool:
    """Whether a node yields or reads a complex tensor."""
    values = [item.meta.get("val") for item in (node, *node.all_input_nodes)]
    return any(isinstance(leaf, torch.Tensor) and leaf.is_complex() for leaf in pytree.tree_leaves(values))
