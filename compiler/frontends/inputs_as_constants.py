"""Programs in which torch.export took inputs for constants, as it does under torch.func.grad."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..ir.source import source_of


def check_inputs_are_none(exported: ExportedProgram, given: Any) -> None:
    """Raise UserError if a constant of the program stands for an input as it was traced: it has no numbers."""
    if any(isinstance(item, FakeTensor) for item in pytree.tree_leaves(given)):
        return
    held = {spec.arg.name: exported.constants.get(spec.target or "") for spec in exported.graph_signature.input_specs}
    for node in exported.graph.find_nodes(op="placeholder"):
        if _stands_for_others(held.get(node.name)):
            line = next((line for user in node.users if (line := source_of(user))), None)
            raise UserError(
                f"torch.export takes an input of the model for a constant{f' at {line}' if line else ''}, as it does "
                "under torch.func.grad, which it cannot follow: write the gradient with operators, or leave that part "
                "out of what is compiled."
            )


def _stands_for_others(constant: object) -> bool:
    """Whether it is a tensor of the tracing itself, without numbers."""
    return isinstance(constant, torch.Tensor) and (
        isinstance(constant, FakeTensor)
        or torch._C._functorch.is_functorch_wrapped_tensor(constant)
        or torch._is_functional_tensor(constant)
    )
