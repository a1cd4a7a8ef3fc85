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


@pytest.mark.parametrize("ir", ["dynamo", "fx"])
@pytest.mark.parametrize(
    "dropout", [F.dropout, F.alpha_dropout, F.dropout1d, F.feature_alpha_dropout], ids=lambda item: item.__name__
)
def test_a_write_reaches_both_sides_of_dropout_that_drops_nothing(dropout, ir: str) -> None:
    model, x = Model(dropout, 0.3).eval(), torch.randn(3, 4, 5)
    compiled = tp.compile(model, [x], ir=ir, min_block_size=1, executor="reference")
    torch.testing.assert_close(compiled(x), model(x))
