"""The arguments that a model is compiled with, checked before PyTorch sees them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import UserError
from ..inputs import Input


def check_containers(inputs: Any, kwargs: Any) -> None:
    """Raise UserError unless positional arguments are in a list or tuple, and keyword arguments in a dict."""
    if isinstance(inputs, Mapping):
        raise UserError("inputs is a dict: give keyword arguments as kwarg_inputs, and positional ones in a list.")
    if isinstance(inputs, torch.Tensor | Input | str) or not isinstance(inputs, Sequence | None):
        raise UserError(f"inputs is a {type(inputs).__name__}: give a list of all positional arguments, such as [x].")
    if not isinstance(kwargs, Mapping | None):
        raise UserError(f"kwarg_inputs is a {type(kwargs).__name__}: give a dict of keyword arguments by name.")


def check_signature(forward: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise UserError unless a model can be called with these arguments."""
    signature = inspect.signature(forward)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        names = ", ".join(str(item.replace(annotation=item.empty)) for item in signature.parameters.values())
        raise UserError(f"the model takes ({names}), and the inputs do not fit: {error}.") from None


def hint_at_shapes(args: Sequence[Any]) -> str:
    """A sentence for an argument of numbers that looks like a shape; else nothing."""
    for item in args:
        if isinstance(item, tuple | list) and item and all(type(size) is int for size in item):
            return f" {item!r} among the inputs are numbers: give tp.Input({item!r}) for a tensor of that shape."
    return ""
