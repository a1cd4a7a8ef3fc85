"""Segments are cut so that the weights of each engine fit into the memory for building it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn

SMALL: dict[str, Any] = {"min_block_size": 1, "executor": "reference"}
X = torch.randn(2, 64)
LAYER = 4 * (64 * 64 + 64)


class Chain(nn.Module):
    def __init__(self, shared: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(6))
        if shared:
            self.layers = nn.ModuleList([self.layers[0]] * 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).relu() + x
        return x


@pytest.mark.parametrize(
    ("budget", "engines"), [(None, 1), (4 * 6 * LAYER, 1), (4 * 3 * LAYER, 2), (4 * 2 * LAYER, 3), (1, 6)]
)
def test_engines_have_no_more_weights_than_fit(budget: int | None, engines: int) -> None:
    model = Chain().eval()
    compiled = tp.compile(model, [X], cpu_memory_budget=budget, **SMALL)
    assert len(compiled.segments) == engines
    assert compiled.report.coverage == 1
    assert any("cpu_memory_budget" in note for note in compiled.report.notes) == (engines > 1)
    torch.testing.assert_close(compiled(X), model(X))


def test_weights_that_are_shared_count_once() -> None:
    model = Chain(shared=True).eval()
    compiled = tp.compile(model, [X], cpu_memory_budget=4 * LAYER, **SMALL)
    assert len(compiled.segments) == 1
    torch.testing.assert_close(compiled(X), model(X))


def test_sizes_that_vary_are_no_obstacle() -> None:
    model = Chain().eval()
    item = tp.Input(min_shape=(1, 64), opt_shape=(2, 64), max_shape=(7, 64))
    compiled = tp.compile(model, [item], cpu_memory_budget=4 * 2 * LAYER, **SMALL)
    assert len(compiled.segments) == 3
    for size in (1, 7):
        x = torch.randn(size, 64)
        torch.testing.assert_close(compiled(x), model(x))


def test_options_of_torch_tensorrt() -> None:
    model = Chain().eval()
    options = {"enable_resource_partitioning": True, "cpu_memory_budget": 4 * 3 * LAYER, **SMALL}
    assert len(torch_tensorrt.compile(model, inputs=[X], **options).segments) == 2
    whole = torch_tensorrt.compile(model, inputs=[X], enable_resource_partitioning=True, **SMALL)
    assert len(whole.segments) == 1
    assert whole.report.settings["cpu_memory_budget"] > 0
