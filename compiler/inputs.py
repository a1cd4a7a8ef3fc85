"""What a user may give as an input of a model: an `Input`, an example tensor, a text or a shape."""

from __future__ import annotations

import re
from typing import Any

import torch

from .errors import UserError
from .ir.input import Input

_DECLARES = re.compile(r"(\w+=)?\s*(scalar|[-x./\s]*\d[-x./\s\d]*)(:.*)?")


def declares_input(value: Any) -> bool:
    """Whether a value is an `Input`, or a text for `Input.parse`: sizes or `scalar`, maybe with a name and a dtype."""
    return isinstance(value, Input) or (isinstance(value, str) and _DECLARES.fullmatch(value) is not None)


def as_input(value: Any) -> Input:
    """An `Input` from an `Input`, an example tensor, a text or a shape."""
    if isinstance(value, Input):
        return value
    if isinstance(value, torch.Tensor):
        return Input.from_tensor(value)
    if isinstance(value, str):
        return Input.parse(value)
    if isinstance(value, torch.Size | tuple | list) and all(isinstance(size, int) for size in value):
        return Input(value)
    raise UserError(f"an input is given as {type(value).__name__}: give a tp.Input, an example tensor or a shape.")
