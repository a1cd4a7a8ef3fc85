"""A model, and what it is given, as they were before a call that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree


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
    before = [(tensor, tensor.clone()) for tensor in (*(item[2] for item in places), *given)]
    try:
        yield
    finally:
        for owner, name, tensor in places:
            owner[name] = tensor
        for tensor, value in before:
            # Batch norm writes without counting it, and to write what is there already would count.
            if not torch.allclose(tensor, value, rtol=0, atol=0, equal_nan=True):
                with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                    tensor.copy_(value)
