"""Which front end takes a model, and the module that `trace` gets from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram

from ..errors import NotWhole, UserError, did_you_mean
from ..ir.program import Program
from .given_arguments import check_containers
from .module_view import is_torchscript

FRONT_ENDS = ("default", "dynamo", "torch_compile", "ts", "torchscript", "fx")
"""Values of `ir` that `compile` takes."""


def front_end(ir: str, model: Any) -> str:
    """The front end of that name: "dynamo", "torch_compile", "ts" or "fx".

    "default" stands for "ts" where the model is TorchScript, else for "dynamo".

    Raises:
        UserError: there is none of that name.
    """
    if ir not in FRONT_ENDS:
        raise UserError(f"ir is {ir!r}.{did_you_mean(str(ir), FRONT_ENDS)}")
    if ir == "default":
        return "ts" if is_torchscript(model) else "dynamo"
    return "ts" if ir == "torchscript" else ir


def with_defaults(model: Any, inputs: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Keyword arguments for TorchScript: those given, and the numbers and texts that it has for those left out.

    So that what is compiled takes all arguments of the model.
    """
    from .torchscript.conversion import defaults_of

    check_containers(inputs, kwargs)
    return {**defaults_of(model, len(inputs or ()), kwargs or {}), **(kwargs or {})}


def scripted_arguments(given: Any) -> Any:
    """Arguments for TorchScript as numbers and texts, where they are data types and devices."""
    from .torchscript.given_types import in_numbers

    return given if given is None else in_numbers(given)


def check_methods(model: Any) -> None:
    """Raise NotWhole for TorchScript with state and methods that share it."""
    from .torchscript.kept_methods import check_methods

    check_methods(model)


def with_other_methods(model: Any, whole: torch.jit.ScriptModule) -> tuple[torch.jit.ScriptModule, str]:
    """A compiled TorchScript model with the methods that it had beside `forward`, and the path of `whole` in it."""
    if not is_torchscript(model):
        return whole, ""
    from .torchscript.kept_methods import with_other_methods

    return with_other_methods(model, whole)


def argument_types(model: Any) -> Mapping[str, str]:
    """The types of the arguments of TorchScript, by name, as it writes them; nothing for other models."""
    if not is_torchscript(model):
        return {}
    from .torchscript.conversion import Script

    return {item.name: item.type.annotation_str for item in Script.of(model).arguments}


def traceable(model: Any, chosen: str, inputs: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> Any:
    """What `trace` takes for a model that one of "dynamo", "ts" and "fx" was chosen for.

    Raises:
        UserError: the front end does not take a model of this kind, with these inputs, or cannot convert it.
    """
    check_containers(inputs, kwargs)
    if is_torchscript(model):
        from .torchscript.conversion import module_from_script

        if chosen == "fx":
            raise UserError("ir='fx' cannot trace TorchScript: use ir='ts', or the nn.Module it was made from.")
        if not inputs and not kwargs:
            if not argument_types(model):
                raise NotWhole("the TorchScript model takes no inputs, and a graph begins with them.")
            raise UserError("TorchScript is converted with its inputs: give tp.Input objects or example tensors.")
        return module_from_script(model, inputs or (), kwargs)
    if chosen != "fx":
        return model
    if isinstance(model, ExportedProgram | Program) or not isinstance(model, torch.nn.Module):
        kind = type(model).__name__
        raise UserError(f"ir='fx' takes an nn.Module or a GraphModule, and was given a {kind}: use ir='dynamo'.")
    from .symbolic_trace import symbolically_traced

    return symbolically_traced(model, inputs or (), kwargs or {})
