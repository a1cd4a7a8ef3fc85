"""Pooling of rows whose length varies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

VARYING = tp.Input(min_shape=(1, 3, 5), opt_shape=(2, 3, 8), max_shape=(2, 3, 13))


class Text(nn.Module):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.pool = nn.Conv1d(3, 4, 3, padding=1), nn.MaxPool1d(*args, **kwargs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(torch.relu(self.conv(x)))


@pytest.mark.parametrize(
    "options", [{"kernel_size": 2}, {"kernel_size": [3], "stride": [2], "padding": 1, "ceil_mode": True}]
)
def test_rows_of_any_length_are_pooled(options: dict[str, Any]) -> None:
    model = Text(**options).eval()
    compiled = tp.compile(model, [VARYING], min_block_size=1, executor="reference")
    assert compiled.report.coverage == 1
    for shape in ((1, 3, 5), (2, 3, 8), (2, 3, 13)):
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)
