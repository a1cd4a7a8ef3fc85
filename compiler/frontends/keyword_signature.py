"""Models whose `forward` takes `**keywords`: their names given to torch.export, which mixes them up otherwise."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from .other_forward import other_forward

_OPEN = inspect.Parameter.VAR_KEYWORD


@contextmanager
def named_keywords(model: torch.nn.Module, kwargs: Mapping[str, Any]) -> Iterator[None]:
    """While entered, `model.forward` has a keyword parameter for each of `kwargs` that its `**keywords` would take.

    torch.export (2.11 to 2.13) counts such inputs twice when it matches them with `dynamic_shapes`.
    """
    signature = inspect.signature(model.forward)
    named = [p for p in signature.parameters.values() if p.kind is not _OPEN]
    caught = [name for name in kwargs if name not in signature.parameters]
    if not caught or len(named) == len(signature.parameters):
        yield
        return
    original = model.forward
    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in caught]

    @functools.wraps(original)
    def forward(*args: Any, **keywords: Any) -> Any:
        return original(*args, **keywords)

    forward.__signature__ = signature.replace(parameters=[*named, *added])  # type: ignore[attr-defined]
    with other_forward(model, forward):
        yield
