"""How often tensors were written to."""

from __future__ import annotations

import torch


def times_written(tensor: torch.Tensor) -> int:
    """How often a tensor was written to in place; 0 for those made in inference mode, which do not count it."""
    return 0 if tensor.is_inference() else tensor._version
