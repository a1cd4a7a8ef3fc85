"""The arguments that a model is compiled with, checked before PyTorch sees them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from typing import Any

import torch

from ..errors import UserError, did_you_mean
from ..inputs import as_input, declares_input
from ..ir.input import Input
from ..ir.left_out import POSITIONAL

REGISTER_CACHES = (
    "or call transformers.integrations.executorch.register_dynamic_cache_export_support() first, for a DynamicCache"
)

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def is_declared(value: Any) -> bool:
    """Whether a value is an input or an example of one, where containers of such are taken apart."""
    return isinstance(value, Input | torch.Tensor)


def as_leaf(value: Any) -> Any:
    """What a value among the inputs declares: an `Input`, or a number, text or None, which is part of the graph.

    Raises:
        UserError: it is something else.
    """
    if isinstance(value, torch.Tensor) and value.is_nested:
        raise UserError(
            "an input is a nested tensor, whose rows have sizes of their own, which TensorRT has not: give a padded "
            "tensor (x.to_padded_tensor(0.0)) and a mask, or tensors of values and lengths."
        )
    if isinstance(value, torch.Tensor) or declares_input(value):
        return as_input(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = type(value).__name__
    advice = f", {REGISTER_CACHES}" if kind.endswith("Cache") else ""
    raise UserError(
        f"an input contains a {kind}: give tp.Input, tensors, numbers or None, in tuples, lists, dicts or classes that "
        f"torch.export.register_dataclass was told of{advice}."
    )


def check_containers(inputs: Any, kwargs: Any) -> None:
    """Raise UserError unless positional arguments are in a list or tuple, and keyword arguments in a dict."""
    if isinstance(inputs, Mapping):
        raise UserError("inputs is a dict: give keyword arguments as kwarg_inputs, and positional ones in a list.")
    if isinstance(inputs, torch.Tensor | Input | str) or not isinstance(inputs, Sequence | None):
        raise UserError(
            f"inputs is of type {type(inputs).__name__}: give a list of all positional arguments, such as [x]."
        )
    if not isinstance(kwargs, Mapping | None):
        raise UserError(f"kwarg_inputs is of type {type(kwargs).__name__}: give a dict of keyword arguments by name.")


def check_signature(forward: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise UserError, with the names of missing, surplus or unknown arguments, unless a model can be called so."""
    words = [name for name in kwargs if not name.isidentifier() or iskeyword(name)]
    if words:
        raise UserError(
            f"an argument is called {words[0]!r}, which the code of PyTorch's graphs cannot hold as a name: give it in "
            "a dict, which is an argument itself."
        )
    try:
        signature = inspect.signature(forward)
    except ValueError:
        return  # functions that are written in C do not say what they take
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        raise UserError(_misfit(list(signature.parameters.values()), args, kwargs)) from None


def _misfit(parameters: Sequence[inspect.Parameter], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    takes = f"the model takes ({', '.join(str(item.replace(annotation=item.empty)) for item in parameters)}), but"
    kinds = {item.kind for item in parameters}
    positional = [item.name for item in parameters if item.kind in POSITIONAL]
    named = [item.name for item in parameters if item.kind in _NAMED]
    if len(args) > len(positional) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        return f"{takes} {len(args)} inputs are given by position: leave out what it does not take."
    unknown = [name for name in kwargs if name not in named]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        return f"{takes} kwarg_inputs names {unknown[0]!r}.{did_you_mean(unknown[0], named)}"
    given = {*positional[: len(args)], *(name for name in kwargs if name in named)}
    needed = [item.name for item in parameters if item.kind in (*POSITIONAL, *_NAMED) and item.default is item.empty]
    missing = ", ".join(repr(name) for name in needed if name not in given)
    if missing:
        return f"{takes} is not given {missing}: add what is missing to inputs, or by name to kwarg_inputs."
    twice = next(name for name in positional[: len(args)] if name in kwargs)
    return f"{takes} {twice!r} is given both by position and by name: give it once."


def hint_at_shapes(args: Sequence[Any]) -> str:
    """A sentence for an argument of numbers that looks like a shape; else nothing."""
    for item in args:
        if isinstance(item, tuple | list) and item and all(type(size) is int for size in item):
            return f" {item!r} among the inputs are numbers: give tp.Input({item!r}) for a tensor of that shape."
    return ""
