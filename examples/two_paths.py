"""Singular values in the middle and a path around it, to see how the partitioner decides.

trt-passes run examples/two_paths.py:model --until partition --set min_block_size=1 --dump-dir dump
"""

from __future__ import annotations

import torch
from torch import nn


class TwoPaths(nn.Module):
    """A spectrum weighed by a gate: x f32[4,64] -> f32[4,8]."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(4, 8)
        self.side = nn.Linear(64, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        spectrum = torch.linalg.svdvals(y)
        around = torch.tanh(self.side(y))
        return torch.sigmoid(self.last(spectrum) * around)


def model() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The model and an input."""
    torch.manual_seed(0)
    return TwoPaths().eval(), (torch.randn(4, 64),)
