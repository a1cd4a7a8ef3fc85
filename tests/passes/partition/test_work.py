"""What counts where `min_block_size` is not given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn


class Summed(nn.Module):
    """A loop of ten steps: x f32[4] -> f32[4]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def step(i: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return i + 1, torch.tanh(y * 2 + 1).relu() - 0.5

        zero = torch.zeros((), dtype=torch.int64)
        return torch.while_loop(lambda i, y: i < 10, step, (zero, x))[1]


def converted(model: nn.Module, x: torch.Tensor, **options: Any) -> bool:
    report = tp.compile(model.eval(), [x], dryrun=True, **options).report
    return bool(report.segments)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.LSTM(8, 16, batch_first=True), torch.randn(2, 5, 8)),
        (nn.LSTM(8, 16, num_layers=2, bidirectional=True), torch.randn(5, 2, 8)),
        (nn.GRU(8, 16), torch.randn(5, 2, 8)),
        (nn.RNN(8, 16), torch.randn(5, 2, 8)),
        (nn.RNN(8, 16, nonlinearity="relu"), torch.randn(5, 2, 8)),
        (nn.Linear(4096, 4096), torch.randn(64, 4096)),
        (nn.Conv2d(64, 64, 3), torch.randn(2, 64, 128, 128)),
        (nn.ConvTranspose2d(256, 64, 3), torch.randn(1, 256, 64, 64)),
        (Summed(), torch.randn(4)),
    ],
)
def test_one_operator_that_does_the_work_of_many_is_worth_an_engine(model: nn.Module, x: torch.Tensor) -> None:
    assert converted(model, x)
    assert not converted(model, x, min_block_size=50)


@pytest.mark.parametrize("model", [nn.Linear(4, 4), nn.Conv1d(4, 4, 1), nn.Sequential(nn.ReLU(), nn.Tanh())])
def test_little_work_is_not(model: nn.Module) -> None:
    assert not converted(model, torch.randn(4, 4))


def test_a_size_that_is_given_counts_op_nodes() -> None:
    model, x = nn.LSTM(8, 16), torch.randn(5, 2, 8)
    for options in ({"min_block_size": 5}, {"pipeline": "decompose,lower,annotate,partition{min-block-size=5}"}):
        assert not converted(model, x, **options)


def test_dynamic_sizes_count_as_the_usual_ones() -> None:
    model = nn.Linear(4096, 4096)
    assert converted(model, tp.Input(min_shape=(1, 4096), opt_shape=(64, 4096), max_shape=(128, 4096)))
    assert not converted(model, tp.Input(min_shape=(1, 4096), opt_shape=(2, 4096), max_shape=(128, 4096)))


def test_scripted_recurrent_layers_are_blocks() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lstm(x)[0]

    module: Any = torch.jit.script(Odd().eval())
    assert tp.compile(module, [torch.randn(3, 2, 4)], dryrun=True).report.segments
