"""Factories that the tests of the command line name; they run in processes of their own as well."""

from __future__ import annotations

import torch
from torch import nn


class Blocks(nn.Module):
    """Two blocks with a sort between them, which has no place in an engine here: x f32[B,8] -> f32[B,4]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values, _ = torch.sort(self.first(x), dim=-1)
        return self.second(values)


class Pair(nn.Module):
    """The sum of two inputs, which must agree in every size: f32[B,4] and f32[B,4] -> f32[B,4]."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return torch.relu(left + right)


class Branching(nn.Module):
    """Python control flow on a value, which torch.export rejects."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return -x


def blocks() -> tuple[nn.Module, torch.Tensor]:
    """Two engines and one fallback."""
    torch.manual_seed(0)
    return Blocks().eval(), torch.ones(2, 8)


def pair() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Two inputs of one shape."""
    return Pair(), (torch.ones(2, 4), torch.ones(2, 4))


def branching() -> tuple[nn.Module, torch.Tensor]:
    """A model that cannot be exported."""
    return Branching(), torch.ones(2)


def raising() -> nn.Module:
    """A factory with a mistake in it."""
    raise KeyError("no such checkpoint")


def slow() -> tuple[nn.Module, torch.Tensor]:
    """A chain of layers that takes TensorRT many seconds to build."""
    layers = [layer for _ in range(250) for layer in (nn.Linear(16, 16), nn.Tanh())]
    return nn.Sequential(*layers).eval(), torch.ones(2, 16)


class Pitch(nn.Module):
    """A weighted mean whose weights halves cannot hold: x f32[B,8] -> f32[B]."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.sigmoid(self.layer(x) - 25)
        return (y * torch.arange(32.0)).sum(-1) / y.sum(-1)


def pitch() -> tuple[nn.Module, torch.Tensor]:
    """Right in float16 only where a part stays in float32."""
    torch.manual_seed(0)
    return Pitch().eval(), torch.randn(4, 8)


def farthest(expected: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """A metric."""
    return (expected - found).abs().max()
