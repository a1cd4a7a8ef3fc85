"""Dataclasses that models return: PyTorch takes apart those only that it was told of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree


@contextmanager
def results_registered(model: nn.Module) -> Iterator[None]:
    """Meanwhile, PyTorch is told of the dataclasses in what the model returns, when it returns them."""
    handle = model.register_forward_hook(lambda module, args, result: register_dataclasses_in(result))
    try:
        yield
    finally:
        handle.remove()


def register_dataclasses_in(result: Any) -> None:
    """Tell PyTorch of the dataclasses in a result (`torch.export.register_dataclass`), unless it knows them."""
    if isinstance(result, Mapping):
        for item in result.values():
            register_dataclasses_in(item)
    elif isinstance(result, list | tuple):
        for item in result:
            register_dataclasses_in(item)
    elif dataclasses.is_dataclass(result) and not isinstance(result, type):
        if type(result) not in pytree.SUPPORTED_NODES:
            torch.export.register_dataclass(type(result))
        for field in dataclasses.fields(result):
            register_dataclasses_in(getattr(result, field.name))
