"""Whether what is given for an argument is of its TorchScript type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ...errors import UserError
from ...inputs import declares_input
from .values import number_of


def check_fits(name: str, value: Any, type: Any) -> None:
    """Refuse what cannot be of a type, before TorchScript is called with it.

    PyTorch would remember a None in the place of a tensor, and fail in later calls. Numbers and texts are left to
    TorchScript, which says what it expects.

    Args:
        name: of the argument, or of a part of it such as `state[0]`.
        value: an example, or an `Input`.
        type: the TorchScript type.

    Raises:
        UserError: it does not fit.
    """
    kind = type.kind()
    if kind == "OptionalType":
        if value is not None:
            check_fits(name, value, type.getElementType())
    elif kind == "TensorType":
        if not isinstance(value, torch.Tensor) and not declares_input(value):
            hint = _as_sizes(value) or "give a tp.Input or an example tensor"
            raise _does_not_fit(name, "a tensor", value, hint)
        if isinstance(value, torch.Tensor) and value.is_meta:
            raise UserError(
                f"argument {name!r} of the TorchScript model is on the meta device, where tensors have no numbers, and "
                "the model is run: give a tp.Input or a tensor with numbers."
            )
    elif kind == "ListType":
        if not isinstance(value, list | tuple):
            raise _does_not_fit(name, "a list", value, "give a list")
        for place, item in enumerate(value):
            check_fits(f"{name}[{place}]", item, type.getElementType())
    elif kind == "TupleType":
        parts = type.elements()
        if not isinstance(value, list | tuple):
            raise _does_not_fit(name, f"a tuple of {len(parts)}", value, "give a tuple")
        if len(value) != len(parts):
            raise UserError(
                f"argument {name!r} of the TorchScript model is a tuple of {len(parts)}, and {len(value)} are given."
            )
        for place, (item, part) in enumerate(zip(value, parts, strict=True)):
            check_fits(f"{name}[{place}]", item, part)
    elif kind == "DictType":
        if not isinstance(value, Mapping):
            raise _does_not_fit(name, "a dictionary", value, "give a dict")
        for key, item in value.items():
            check_fits(f"{name}[{key!r}]", item, type.getValueType())


def in_numbers(value: Any) -> Any:
    """Arguments in which data types are the numbers that TorchScript has for them, and devices texts."""

    def leaf(item: Any) -> Any:
        if isinstance(item, torch.dtype):
            return number_of(item)
        return str(item) if isinstance(item, torch.device) else item

    return pytree.tree_map(leaf, value, is_leaf=declares_input)


def _does_not_fit(name: str, what: str, value: Any, hint: str) -> UserError:
    given = "None" if value is None else f"of type {type(value).__name__}"
    return UserError(f"argument {name!r} of the TorchScript model is {what}, and what is given is {given}: {hint}.")


def _as_sizes(value: Any) -> str | None:
    """What to write for sizes that were meant to declare a tensor."""
    sizes = isinstance(value, list | tuple) and bool(value) and all(type(size) is int for size in value)
    return f"for a tensor of these sizes give tp.Input({tuple(value)})" if sizes else None
