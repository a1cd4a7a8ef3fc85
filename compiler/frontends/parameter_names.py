"""What the inputs of a model are called."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.export import ExportedProgram

from ..ir.program import Program


def parameters(module: Any) -> tuple[list[str], list[str]]:
    """Names of all inputs that can be given, and of those that must be.

    Raises:
        UserError: it is TorchScript without a method forward.
    """
    if isinstance(module, Program):
        module = module.exported
    if isinstance(module, ExportedProgram):
        names = [str(name) for name in module.graph_signature.user_inputs if isinstance(name, str)]
        return names, names
    if isinstance(module, torch.jit.ScriptModule):
        from .torchscript.conversion import Script

        arguments = Script.of(module).arguments
        return [item.name for item in arguments], [item.name for item in arguments if not item.has_default_value()]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    called = module.forward if isinstance(module, torch.nn.Module) else module
    found = [item for item in inspect.signature(called).parameters.values() if item.kind in kinds]
    return [item.name for item in found], [item.name for item in found if item.default is item.empty]


def parameter_names(module: Any, count: int) -> tuple[str, ...]:
    """Names of the first `count` positional inputs; those of `*args` are called args0, args1, …."""
    known, _ = parameters(module)
    return (*known, *(f"args{index}" for index in range(count - len(known))))[:count]
