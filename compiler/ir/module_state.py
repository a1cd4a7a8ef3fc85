"""Modules that hold tensors of other modules, under the same names."""

from __future__ import annotations

import torch
from torch import nn


def blank_module() -> nn.Module:
    """An empty module of a class of its own: TorchScript gives equal modules of one class one `forward`."""
    module: nn.Module = type("Module", (nn.Module,), {})()
    return module


def with_state(module: nn.Module, path: str, tensor: torch.Tensor) -> None:
    """Register a tensor, itself and not a copy, at a dotted path, with plain modules on the way to it."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in module._modules:
            module.add_module(parent, nn.Module())
        child = module._modules[parent]
        assert child is not None
        module = child
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)
