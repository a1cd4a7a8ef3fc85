"""Traced modules, which keep sizes in tensors: for all sizes of a range, in engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


class Zeros(nn.Module):
    """A layer that makes its first state, as many rows as it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.head(self.rnn(x)[0]))


class Arithmetic(nn.Module):
    """Sizes multiplied and divided, as shapes, as ends of ranges and as numbers."""

    def forward(self, x: Tensor) -> Tensor:
        n, m = x.size(0), x.shape[1]
        y = x.reshape(n * m // 2, 2) + torch.arange(n * m // 2)[:, None]
        return torch.relu(y).view(n, m) * (n + 1) / m - n % 2


class Positions(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns = x.size()
        places = torch.arange(columns, device=x.device).expand(rows, columns)
        half = int(columns / 2)
        return torch.relu(x + places)[:, half:] * float(rows), x.new_zeros(rows, columns * 2) + 1, torch.tensor(rows)


class Heads(nn.Module):
    """Attention as it was written before there was an operator for it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] @ qkv[1].transpose(-2, -1) * (c // 2) ** -0.5).softmax(-1)
        return (weights @ qkv[2]).transpose(1, 2).reshape(b, n, c)


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "zeros": (Zeros, ((1, 6, 4), (3, 6, 4), (6, 6, 4))),
    "arithmetic": (Arithmetic, ((1, 4), (3, 4), (6, 4))),
    "positions": (Positions, ((1, 2), (3, 4), (6, 8))),
    "heads": (Heads, ((1, 3, 8), (2, 5, 8), (4, 9, 8))),
}


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_sizes_in_tensors_are_sizes(name: str) -> None:
    torch.manual_seed(0)
    make, (low, usual, high) = MODELS[name]
    script: Any = torch.jit.trace(make().eval(), torch.randn(usual))
    assert name == "zeros" or "NumToTensor" in str(script.graph)
    declared = tp.Input(min_shape=low, opt_shape=usual, max_shape=high)
    compiled = tp.compile(script, [declared], executor="reference", min_block_size=1)
    assert not hasattr(compiled.report, "whole")
    assert compiled.report.coverage == 1 or name == "positions"
    for sizes in (usual, low, high):
        x = torch.randn(sizes)
        torch.testing.assert_close(compiled(x), script(x), rtol=1e-4, atol=1e-4)
