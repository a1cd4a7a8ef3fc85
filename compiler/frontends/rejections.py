"""Why a model cannot be exported, in a sentence that names the user's line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, UnsupportedOperatorException
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree

from ..ir.source import frames_in
from .given_arguments import REGISTER_CACHES
from .kept_state import kept_state

_UNKNOWN_RESULT = re.compile(r"(Found <class '(?P<name>[^']+)'> in output|unhashable type: )")


def rejection(error: Exception) -> str:
    """What torch.export says against a model."""
    reason = first_line(error)
    place = _place(frames_in(str(error)) or frames_in(_trace(error)))
    if isinstance(error, GuardOnDataDependentSymNode):
        return (
            f"the model decides by a value of a tensor{place}, which torch.export cannot follow: use torch.cond or "
            f"torch.where there, or ir='torch_compile', which leaves that to Python ({reason})."
        )
    if isinstance(error, UnsupportedOperatorException):
        return (
            f"torch.export rejects the model{place}: PyTorch cannot tell the size of what {error.func} gives where "
            "sizes vary: declare fixed sizes, or write it with other operators."
        )
    unknown = _UNKNOWN_RESULT.match(reason)
    name = unknown["name"] if unknown else None
    return f"torch.export rejects the model{place}: {_unknown_result(name) if name else reason}"


def own_failure(model: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """What the model raises when it is called as usual, which is nothing against torch.export; None if it answers.

    Its state, and the arguments, are as before.
    """
    if any(isinstance(leaf, FakeTensor) for leaf in pytree.tree_leaves((args, dict(kwargs)))):
        return None
    try:
        with kept_state(model, (args, kwargs)), torch.no_grad():
            model(*args, **kwargs)
    except Exception as error:
        place = _place(frames_in(_trace(error)))
        name = type(error).__name__
        return f"the model itself raises {name}{place} when it is called with these inputs: {first_line(error)}"
    return None


def is_unknown_result(error: Exception) -> bool:
    """Whether the model returns a container that PyTorch cannot take apart."""
    return _UNKNOWN_RESULT.match(str(error).strip()) is not None


def first_line(error: Exception) -> str:
    """The first words of an error, or its kind if it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _place(found: list[str]) -> str:
    frames = [frame for frame in found if not str(frame).startswith("<")]
    return f" at {frames[-1]}" if frames else ""


def _trace(error: Exception) -> str:
    return "".join(traceback.format_tb(error.__traceback__))


def _unknown_result(name: str) -> str:
    advice = "return tensors in tuples, lists and dicts, or tell torch.utils._pytree.register_pytree_node of it."
    if name.endswith("Cache"):
        advice = f"compile the model with use_cache=False in kwarg_inputs or its config, {REGISTER_CACHES}."
    return f"it returns a {name}, which PyTorch cannot take apart: {advice}"
