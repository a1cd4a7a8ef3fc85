"""Small models that several tests compile."""

from __future__ import annotations

import torch
from torch import nn

TORCH_RELEASE = tuple(int(part) for part in torch.__version__.split(".")[:2])
"""Major and minor release of torch, for tests of what only newer exporters accept."""


class ConvNet(nn.Module):
    """Convolution, batch norm, pooling and a classifier: x f32[B,3,16,16] -> f32[B,5]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


class Sorted(nn.Module):
    """Two regions for TensorRT with an operator between them that can be kept in PyTorch: x f32[B,8] -> f32[B,4]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values, _ = torch.sort(self.first(x), dim=-1)
        return self.second(values)


class NonZero(nn.Module):
    """A size that depends on values in the middle: x f32[8] -> f32[u0]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(x * 2 + 1)
        return torch.nonzero(y > 1).float() * 2


class Counter(nn.Module):
    """Mutates a buffer: x f32[3] -> f32[3]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count.add_(1)
        return x * 2 + self.count


def seeded(model: nn.Module) -> nn.Module:
    """The model in eval mode with weights that are the same in every run."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()
