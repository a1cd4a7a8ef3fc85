"""Which nodes draw random numbers."""

from __future__ import annotations

import torch
from torch.fx import Node

from .call import Call


def draws(node: Node) -> bool:
    """Whether a node draws random numbers: dropout with training switched off, or with probability 0, does not."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    if torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    arguments = Call(node).args
    return arguments.get("train") is not False and not any(
        arguments.get(name) == 0.0 for name in ("dropout_p", "dropout")
    )
