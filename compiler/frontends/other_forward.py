"""Another `forward` of a model, for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def other_forward(model: torch.nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """While entered, a call of the model runs `forward`; afterwards what it ran before."""
    original, patched = model.forward, "forward" in vars(model)
    model.forward = forward
    try:
        yield
    finally:
        if patched:
            model.forward = original
        else:
            del model.forward
