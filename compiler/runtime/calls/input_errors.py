"""What is wrong with an input of an engine, whoever runs it."""

from __future__ import annotations

import torch

from ...errors import UserError


def elsewhere(name: str, tensor: torch.Tensor, device: torch.device) -> UserError:
    """The input `name` is not on the device that the others are on."""
    return UserError(f"input {name!r} is on {tensor.device}, but others are on {device}: put all on one.")


def sparse(name: str) -> UserError:
    """The input `name` has no dense memory for an engine to read."""
    return UserError(f"input {name!r} is sparse, but the engine takes dense tensors: give its to_dense().")
