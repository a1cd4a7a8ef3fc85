"""Changes in place of what a tensor is, not of its numbers: of its shape, its strides or its memory.

A program has the tensors of its caller and of the model for good: it can write numbers to them, and no more.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.overrides import TorchFunctionMode

from ..errors import UserError
from ..ir.program import Program
from ..ir.source import frames_in, source_of


def check_not_reshaped(exported: ExportedProgram) -> ExportedProgram:
    """The program, from torch.export, unless it changes the shape or strides of an input or of the model's state.

    Raises:
        UserError: it does. PyTorch's decompositions would lose that, or mix it up with the numbers that are written.
    """
    program = Program(exported)
    for node in filter(_reshapes, program.op_nodes):
        tensor = _written(node)
        if tensor.op == "placeholder":
            target = program.input_specs[tensor.name].target
            what = f"its input {tensor.name!r}" if target is None else f"its tensor {target!r}"
            raise _refusal(what, str(node.target).split(".")[1], source_of(node))
    return exported


def _reshapes(node: Node) -> bool:
    target = node.target
    return (
        isinstance(target, torch._ops.OpOverload)
        and torch.Tag.inplace_view in target.tags
        and target is not torch.ops.aten.detach_.default
    )


def _written(node: Node) -> Node:
    """The node that made the tensor that operators that work in place return, one after the other."""
    while (given := _returned(node)) is not None:
        node = given
    return node


def _returned(node: Node) -> Node | None:
    """The argument that an operator writes to and gives back, as `add_` does its first, or `out`; None without one."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or not target._schema.returns:
        return None
    result = target._schema.returns[0].alias_info
    if result is None or not result.is_write:
        return None
    for place, argument in enumerate(target._schema.arguments):
        alias = argument.alias_info
        if alias is not None and alias.is_write and alias.before_set == result.before_set:
            given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
            return given if isinstance(given, Node) else None
    return None


def _refusal(what: str, name: str, place: str | None) -> UserError:
    at = f" at {place}" if place else ""
    return UserError(
        f"the model changes the shape, strides or memory of {what} in place, with {name}{at}, and a compiled program "
        "can only write numbers to tensors that it is given: use what makes another tensor, or a clone()."
    )


class NothingRebound(TorchFunctionMode):
    """While a model is exported: `tensor.data` is read as `detach`, and to assign to it is an error (UserError).

    torch.export records neither.
    """

    def __init__(self) -> None:
        super().__init__()
        self._unsqueezed: str | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch's, unless it is one of those two."""
        if func == torch.Tensor.data.__set__:  # type: ignore[attr-defined]
            raise UserError(
                f"the model assigns to the data of a tensor{_here()}, which torch.export does not record: write to the "
                "tensor itself, with copy_(…), or use the new one."
            )
        if func == torch.Tensor.data.__get__:  # type: ignore[attr-defined]
            # torch.export loses where it comes from; without gradients, a detached tensor is the same.
            return args[0].detach()
        if func is torch.Tensor.unsqueeze_:
            self._unsqueezed = _here()
        return func(*args, **(kwargs or {}))

    def explain(self, error: Exception) -> None:
        """Raise UserError if torch.export failed as it does where `unsqueeze_` was called on an input."""
        if isinstance(error, IndexError) and self._unsqueezed is not None:
            raise _refusal("an input", "unsqueeze_", self._unsqueezed.removeprefix(" at ")) from error


def _here() -> str:
    frames = frames_in("".join(traceback.format_stack()))
    return f" at {frames[-1]}" if frames else ""
