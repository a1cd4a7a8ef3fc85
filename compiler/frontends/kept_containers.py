"""Lists and dicts among a model's arguments, which a compiled program does not write to."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..ir.memory import memory_of
from .other_forward import other_forward


@contextmanager
def containers_kept(model: torch.nn.Module, arguments: Any) -> Iterator[None]:
    """While entered, the model's `forward` raises UserError if it changes what is in a list or dict of its arguments.

    torch.export does not record that: the caller would have what was there before.

    Args:
        model: what is exported.
        arguments: all of its arguments, in any containers.
    """
    if not any(isinstance(item, list | dict) for item in _containers(arguments)):
        yield
        return
    original = model.forward

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        before = pytree.tree_flatten((args, kwargs))
        result = original(*args, **kwargs)
        _check(before, pytree.tree_flatten((args, kwargs)))
        return result

    with other_forward(model, forward):
        yield


def _containers(arguments: Any) -> Iterator[Any]:
    items = arguments.values() if isinstance(arguments, dict) else arguments
    for item in items if isinstance(arguments, dict | list | tuple) else ():
        yield item
        yield from _containers(item)


def _check(before: tuple[Sequence[Any], pytree.TreeSpec], after: tuple[Sequence[Any], pytree.TreeSpec]) -> None:
    if before[1] != after[1] or not all(map(_is_same, before[0], after[0])):
        raise UserError(
            "the model changes what is in a list or dict that it is given, and a compiled program can only write "
            "numbers to the tensors in it: return what is new, or write to the tensors with copy_(…)."
        )


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one is other or (memory_of(one) == memory_of(other) and one.stride() == other.stride())
    return one is other or bool(one == other)
