"""Arguments that are part of the graph: numbers, text and None are what they were when the model was exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.utils import _pytree as pytree

from ..errors import UserError


@dataclass(frozen=True)
class FixedArguments:
    """A forward pre-hook that refuses other values than the graph has.

    `fixed` are position among the flattened arguments, name and value of each; `keywords` the order of keyword
    arguments.
    """

    fixed: tuple[tuple[int, str, Any], ...]
    keywords: tuple[str, ...]

    @classmethod
    def of(cls, exported: ExportedProgram) -> FixedArguments:
        """Those of a program."""
        inputs = [spec.arg for spec in exported.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
        fixed = [(i, arg.name, arg.value) for i, arg in enumerate(inputs) if isinstance(arg, ConstantArgument)]
        spec = exported.call_spec.in_spec
        assert spec is not None, "torch.export records it"
        return cls(tuple(fixed), tuple(spec.children()[1].context))

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Check the arguments of a call.

        Raises:
            UserError: one is another value.
        """
        ordered = [kwargs[name] for name in self.keywords if name in kwargs]
        leaves = pytree.tree_leaves((args, ordered))
        for index, name, value in self.fixed:
            given = leaves[index] if index < len(leaves) else value
            if given is not value and (isinstance(given, torch.Tensor) or given != value):
                shown = "a tensor" if isinstance(given, torch.Tensor) else repr(given)
                raise UserError(
                    f"argument {name!r} was {value!r} when the model was compiled, which the graph contains, "
                    f"and is {shown} now: compile the model for that too."
                )
