"""An ExportedProgram of the user's, with what is given as its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.utils import _pytree as pytree

from ..errors import UserError, did_you_mean
from ..ir.input import Input
from ..ir.least_values import lower_least_values
from ..ir.left_out import check_unchanged
from ..ir.program import Program
from ..ir.symbols import example_size, expression
from .declared_ranges import input_like_example, own_inputs, stamped, with_inputs
from .given_arguments import as_leaf, check_containers, is_declared
from .size_guards import check_size_guards
from .size_trial import GraphTrial


def adopted(exported: ExportedProgram, inputs: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> Program:
    """The program with declared inputs: its own ranges, unless `Input`s or texts among the inputs declare others.

    Example tensors declare nothing but the usual sizes.

    Raises:
        UserError: inputs do not fit the program, or a dimension has no largest size where an example is given for it.
    """
    check_containers(inputs, kwargs)
    if inputs is None and not kwargs:
        program = stamped(Program(exported, own_inputs(exported)))
        lower_least_values(program.exported, program.exported.range_constraints)
        return _checked(program)
    call = (tuple(inputs or ()), _in_order(exported, kwargs or {}))
    given = pytree.tree_leaves(call, is_leaf=is_declared)
    leaves = [as_leaf(value) for value in given]
    _check_constants(exported, leaves)
    tensors = [(value, leaf) for value, leaf in zip(given, leaves, strict=True) if isinstance(leaf, Input)]
    nodes = [node for node in Program(exported).user_inputs if isinstance(node.meta.get("val"), torch.Tensor)]
    if len(nodes) != len(tensors):
        raise UserError(f"the model takes {len(nodes)} tensors, but {len(tensors)} inputs are given.")
    declared = [
        input_like_example(exported, node, leaf) if isinstance(value, torch.Tensor) else leaf
        for node, (value, leaf) in zip(nodes, tensors, strict=True)
    ]
    return _checked(with_inputs(exported, tuple(declared)))


def _checked(program: Program) -> Program:
    """The program, if its graph does at all sizes what it says.

    Raises:
        UserError: it does not: `squeeze()` does something else for a size of 1, which torch.export leaves out.
    """
    values = (node.meta.get("val") for node in program.user_inputs)
    sizes = (size for value in values if isinstance(value, torch.Tensor) for size in value.shape)
    usual = {expression(size): example_size(size) or 2 for size in sizes if isinstance(size, torch.SymInt)}
    if usual:
        check_size_guards(program, GraphTrial(program.exported, usual))
    return program


def _in_order(exported: ExportedProgram, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments in the order in which the program has them."""
    spec = exported.call_spec.in_spec
    names = [str(name) for name in spec.children()[1].context or ()] if spec is not None else list(kwargs)
    for name in kwargs:
        if name not in names:
            takes = f"takes {', '.join(map(repr, names))} by keyword" if names else "takes no keyword arguments"
            raise UserError(f"kwarg_inputs names {name!r}, but the program {takes}.{did_you_mean(name, names)}")
    return {name: kwargs[name] for name in names if name in kwargs}


def _check_constants(exported: ExportedProgram, leaves: Sequence[Any]) -> None:
    """Raise UserError for a number, text or None that is part of the graph, and was another one."""
    arguments = [spec.arg for spec in exported.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
    if len(arguments) != len(leaves):
        return
    for argument, leaf in zip(arguments, leaves, strict=True):
        if isinstance(argument, ConstantArgument) and not isinstance(leaf, Input):
            check_unchanged(argument.name, argument.value, leaf)
