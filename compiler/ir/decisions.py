"""Checks in a graph that a value of a tensor is the one by which the model was followed when it was exported."""

from __future__ import annotations

import re

import torch
from torch.fx import Node

from .source import source_of

_BOUND = re.compile(r"failed for expression \w+ (>= 0|<= 1) on node")
_SAYS = "the model decides by a value of a tensor"


def is_decision(node: Node) -> bool:
    """Whether a node checks such a value: what comes after it is right only if it does."""
    return node.target is torch.ops.aten._assert_scalar.default and str(node.args[1]).startswith(_SAYS)


def as_decision(node: Node, line: str | None) -> None:
    """Make an `aten._assert_scalar` a decision of the user's line, "file:line"."""
    place = f" at {line}" if line else ""
    node.args = (
        node.args[0],
        f"{_SAYS}{place} and was compiled for what it decides on the example inputs: for these inputs it decides "
        "otherwise, so call the model itself, or compile it with ir='torch_compile'.",
    )


def is_always_so(node: Node) -> bool:
    """Whether an `aten._assert_scalar` says what torch.export writes of every size and truth.

    That is that a size is no less than 0, and the number of a truth no more than 1.
    """
    found = _BOUND.search(str(node.args[1]))
    if found is None:
        return False
    inputs = [each for condition in node.all_input_nodes for each in condition.all_input_nodes]
    return found[1] == ">= 0" or any(each.target is torch.sym_ite for each in inputs)


def line_of(node: Node) -> str | None:
    """The user's line of a check, or of the number that it checks."""
    seen = [node]
    for each in seen:
        line = source_of(each)
        if line is not None:
            return line
        seen += [before for before in each.all_input_nodes if before not in seen]
    return None
