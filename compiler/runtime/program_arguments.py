"""Arguments to run a program with: examples for its caller's arguments, and the flat list that its graph takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..ir.program import Program
from .calls.any_strides import take_any_strides


def call_arguments(program: Program) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments to call the program with.

    The examples that the model was exported with if it still has them, else examples made from the declared inputs.

    Raises:
        UserError: neither is there.
    """
    examples = program.exported.example_inputs
    if examples is not None:
        args, kwargs = examples
        return tuple(args), dict(kwargs)
    spec = program.exported.call_spec.in_spec
    tensors = iter(program.inputs)
    if spec is None or len(program.inputs) != len(program.user_inputs):
        raise UserError("the program has no example inputs: give tp.Input objects or example tensors.")
    specs = [item for item in program.exported.graph_signature.input_specs if item.kind is InputKind.USER_INPUT]
    leaves = [item.arg.value if hasattr(item.arg, "value") else next(tensors).example() for item in specs]
    args, kwargs = pytree.tree_unflatten(leaves, spec)
    return tuple(args), dict(kwargs)


def graph_arguments(program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """The values of all placeholders of the program's graph for a call: constants and buffers first, as it wants them.

    Buffers that the program mutates are copied.
    """
    spec = program.exported.call_spec.in_spec
    ordered = dict(kwargs)
    if spec is not None:
        names = spec.children()[1].context if hasattr(spec, "children") else ()
        ordered = {name: kwargs[name] for name in names or kwargs}
    leaves = iter(pytree.tree_leaves((tuple(args), ordered)))
    constants = program.constants
    exported = program.exported
    values: list[Any] = []
    for item in exported.graph_signature.input_specs:
        if item.kind is InputKind.USER_INPUT:
            values.append(next(leaves))
        elif item.arg.name in constants:
            values.append(constants[item.arg.name])
        else:
            target = str(item.target)
            stored = exported.state_dict.get(target, exported.constants.get(target))
            values.append(stored.clone() if isinstance(stored, torch.Tensor) else stored)
    return values


def eager_module(program: Program) -> Callable[..., Any]:
    """The program as a module that PyTorch runs; calling it does not change the program's buffers."""
    module = program.exported.module(check_guards=False)
    assert isinstance(module, GraphModule)
    take_any_strides(module)
    if program.mutates:
        for child in module.modules():
            for name, buffer in child.named_buffers(recurse=False):
                child._buffers[name] = buffer.clone()
    return module
