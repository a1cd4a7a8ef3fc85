"""A model, and what it is given, as they were before a call that nobody asked for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from ..ir.memory import parts_of, same_numbers, times_written
from .python_state import python_state_kept


@contextmanager
def kept_state(model: nn.Module, arguments: Any) -> Iterator[None]:
    """Undo what is written inside to buffers, attributes of any kind and arguments, and what is put in their place.

    Args:
        model: owns the buffers and attributes. Parameters are no state that a call changes.
        arguments: tensors in any containers.
    """
    places = [
        (owner, name, tensor)
        for module in model.modules()
        for owner in (module._buffers, vars(module))
        for name, tensor in owner.items()
        if isinstance(tensor, torch.Tensor)
    ]
    attributes = [item for module in model.modules() for item in vars(module).values()]
    generators = [(item, item.get_state()) for item in attributes if isinstance(item, torch.Generator)]
    given = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
    with python_state_kept(model), kept_values([*(tensor for *_, tensor in places), *given]):
        try:
            yield
        finally:
            for owner, name, tensor in places:
                owner[name] = tensor
            for generator, state in generators:
                generator.set_state(state)


@contextmanager
def kept_values(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """Afterwards, the tensors have the values that they had.

    Tracing writes too: torch.export runs some writes to what it takes for constants, such as those through a `to` that
    changes nothing.
    """
    # What an exporter that gave up has left in the model has no values.
    parts = [part for tensor in tensors for part in parts_of(tensor) if not isinstance(part, FakeTensor)]
    before = [(part, part.detach(), times_written(part), part.detach().clone()) for part in parts]
    try:
        yield
    finally:
        for tensor, same, times, value in before:
            with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                if _form(tensor) != _form(same):
                    tensor.data = same
                # Batch norm, and inference mode, write without a count.
                if times_written(tensor) != times or not same_numbers(tensor, value):
                    tensor.copy_(value)


def _form(tensor: torch.Tensor) -> Hashable:
    """What in-place operators such as `t_` and `resize_` change."""
    dense = tensor.layout is torch.strided
    return tensor.shape, (tensor.stride(), tensor.storage_offset()) if dense else None
