"""Operators that compute something else while a model is trained: dropout, and batch norm with its own statistics."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from ..ir.call import Call
from ..ir.program import Program
from ..ir.source import source_of


def training_operator(program: Program) -> str | None:
    """The name of an operator that runs in training mode, with the user's line, such as "aten.dropout (model.py:7)".

    None if there is none for which `model.eval()` would change anything.
    """
    for node in program.op_nodes:
        if isinstance(node.target, torch._ops.OpOverload) and _trains(Call(node)):
            source = source_of(node)
            return f"{Call(node).op} ({source})" if source else Call(node).op
    return None


def _trains(call: Call) -> bool:
    args = call.args
    if "running_mean" in args and args["running_mean"] is None:
        return False  # the statistics of the batch are all that there are, in either mode
    if any(args.get(name) is True for name in ("train", "training")):
        return args.get("p") != 0
    return isinstance(args.get("dropout_p"), float) and args["dropout_p"] > 0


def warn_of_training(program: Program, model: nn.Module | None) -> None:
    """Warn, once, that a program computes what a model does while it is trained.

    Args:
        program: from torch.export.
        model: what it was made of, if that is known. Nothing is said of a model that is in eval mode, which then wants
            such an operator.
    """
    found = training_operator(program)
    if found is not None and (model is None or any(module.training for module in model.modules())):
        warnings.warn(
            f"the model is in training mode, in which {found} is not what it is for inference: call model.eval() "
            "before you compile or export it, unless that is what you want.",
            RuntimeWarning,
            stacklevel=2,
        )
