"""`module.to(…)` inside a model, where the module is already so: it changes nothing, and must not fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def unchanged_modules_left() -> Iterator[None]:
    """While entered, `Module.to` returns a module whose tensors have the type and device that it names as it is.

    PyTorch replaces all its parameters by themselves, which torch.export cannot follow.
    """
    original = torch.nn.Module.to

    def to(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        tensors = [*module.parameters(), *module.buffers()]
        if layout is None and all(
            (device is None or tensor.device == device)
            and (dtype is None or not (tensor.is_floating_point() or tensor.is_complex()) or tensor.dtype == dtype)
            for tensor in tensors
        ):
            return module
        return original(module, *args, **kwargs)

    setattr(torch.nn.Module, "to", to)  # noqa: B010  (mypy takes functions for final)
    try:
        yield
    finally:
        setattr(torch.nn.Module, "to", original)  # noqa: B010
