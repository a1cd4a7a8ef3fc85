"""Writes to views that come together, such as those of `unbind`, for sizes that vary."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.ir.single_views import with_single_views

aten = torch.ops.aten


class Model(torch.nn.Module):
    def __init__(self, views: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__()
        self.views = views

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, last = self.views(x)
        first.add_(last.sum())
        last.mul_(3)
        return first.sum() + last


VIEWS = {
    "unbind": lambda x: x.unbind(1),
    "split": lambda x: x.split(1, 1),
    "split by sizes": lambda x: x.split([x.shape[0] // 2, x.shape[0] - x.shape[0] // 2]),
    "chunk": lambda x: x.chunk(2),
}


@pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)
def test_what_is_written_to_views_that_come_together_reaches_the_input(views) -> None:
    model = Model(views).eval()
    x = tp.Input(min_shape=(2, 2), opt_shape=(4, 2), max_shape=(5, 2))
    compiled = tp.compile(model, [x], min_block_size=1, executor="reference")
    for size in (2, 3, 5):
        given = torch.arange(2.0 * size).view(size, 2)
        other = given.clone()
        torch.testing.assert_close(compiled(given), model(other))
        torch.testing.assert_close(given, other)


def test_each_view_has_the_values_that_it_had() -> None:
    model = Model(VIEWS["split"]).eval()
    with torch.no_grad():
        exported = torch.export.export(model, (torch.zeros(3, 2),))
    single = with_single_views(exported)
    targets = {node.target for node in single.graph.nodes}
    assert aten.slice.Tensor in targets
    assert aten.split.Tensor not in targets
    one, other = torch.ones(3, 2), torch.ones(3, 2)
    torch.testing.assert_close(single.module()(one), exported.module()(other))
    torch.testing.assert_close(one, other)
