"""A model, and what it is given, as they were before a call that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..runtime.cuda_graphs.writes import times_written


@contextmanager
def kept_state(model: nn.Module, arguments: Any) -> Iterator[None]:
    """Undo what is written inside to buffers, plain tensor attributes and arguments, and what is put in their place.

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
    given = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
    with kept_values([*(tensor for *_, tensor in places), *given]):
        try:
            yield
        finally:
            for owner, name, tensor in places:
                owner[name] = tensor


@contextmanager
def kept_values(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """Afterwards, the tensors have the values that they had.

    Tracing writes too: torch.export runs some writes to what it takes for constants, such as those through a `to` that
    changes nothing.
    """
    before = [(tensor, times_written(tensor), tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        for tensor, times, value in before:
            if times_written(tensor) != times or _differs(tensor, value):
                with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                    tensor.copy_(value)


def _differs(tensor: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether a tensor was written to without a count: by batch norm, or in inference mode."""
    comparable = tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_quantized)
    return comparable and not torch.allclose(tensor, value, rtol=0, atol=0, equal_nan=True)
