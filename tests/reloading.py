"""TorchScript that is saved and loaded, in this process."""

from __future__ import annotations

import io
from typing import Any

import torch


def reloaded(script: Any) -> Any:
    """What a ScriptModule is after it was saved and loaded."""
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)
