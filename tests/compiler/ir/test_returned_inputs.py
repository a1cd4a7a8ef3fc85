"""Writes to what an operator returns that is the very tensor it was given."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp


class Model(torch.nn.Module):
    def __init__(self, dropout: Callable[..., torch.Tensor], p: float) -> None:
        super().__init__()
        self.dropout, self.p = dropout, p

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        before = x.relu()
        after = self.dropout(before, self.p, self.training)
        before *= 2
        after[0] += 1
        return before + 1, after + 2


@pytest.mark.parametrize("ir", ["dynamo", "fx", "ts"])
@pytest.mark.parametrize(
    "dropout", [F.dropout, F.alpha_dropout, F.dropout1d, F.feature_alpha_dropout], ids=lambda item: item.__name__
)
def test_a_write_reaches_both_sides_of_dropout_that_drops_nothing(dropout, ir: str) -> None:
    model, x = Model(dropout, 0.3).eval(), torch.randn(3, 4, 5)
    given = torch.jit.trace(model, (x,)) if ir == "ts" else model
    compiled = tp.compile(given, [x], ir=ir, min_block_size=1, executor="reference")
    torch.testing.assert_close(compiled(x), model(x))


class Detached(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        before = x.relu()
        before.data.mul_(3)
        x.data[0] += 1
        return before + 1, x * 2


@pytest.mark.parametrize("ir", ["dynamo", "fx", "torch_compile"])
def test_a_write_to_the_data_of_a_tensor_is_one_to_it(ir: str) -> None:
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    compiled = tp.compile(Detached(), [x], ir=ir, min_block_size=1, executor="reference")
    ours, theirs = y.clone(), y.clone()
    torch.testing.assert_close(compiled(ours), Detached()(theirs))
    torch.testing.assert_close(ours, theirs)
