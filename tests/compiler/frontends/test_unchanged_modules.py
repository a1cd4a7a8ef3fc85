"""Models that move their own modules while they run, as routers of mixtures of experts do."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp
from torch import nn


class Router(nn.Module):
    """Switch Transformers moves its classifier to the type that it has."""

    def __init__(self, dtype: torch.dtype, keyword: bool) -> None:
        super().__init__()
        self.classifier, self.dtype, self.keyword = nn.Linear(4, 3), dtype, keyword

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.classifier = self.classifier.to(dtype=self.dtype) if self.keyword else self.classifier.to(self.dtype)
        return self.classifier(x.to(self.dtype))


@pytest.mark.parametrize("keyword", [False, True])
def test_what_is_already_so(keyword: bool) -> None:
    model, x = Router(torch.float32, keyword), torch.randn(2, 4)
    compiled = tp.compile(model, [x], executor="reference", min_block_size=1)
    torch.testing.assert_close(compiled(x), model(x))
    assert nn.Linear(2, 2).to(torch.float64).weight.dtype is torch.float64


def test_what_is_not_is_right_or_refused() -> None:
    model, x = Router(torch.float64, False), torch.randn(2, 4)
    try:
        found = tp.trace(model, [x]).exported.module()(x)
    except tp.UserError:
        return
    torch.testing.assert_close(found, model(x))
