"""Memory that a later round of a loop writes to, since the round before handed it on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from trt_passes.compiler.frontends.torchscript.inlined import inlined
from trt_passes.compiler.frontends.torchscript.regions import Graph

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::DeprecationWarning")


class HandedOn(nn.Module):
    """The second round adds to `x`."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        total, sums = x + 1, [x.sum()]
        for _ in range(2):
            total += 1
            sums.append(total.sum())
            total = x
        return x.mean(0), total, sums


class Summed(nn.Module):
    """Only the sum is written to."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        total, sums = x + 1, [x.sum()]
        for _ in range(2):
            total += x
            sums.append(total.sum())
        return x.mean(0), total, sums


class Swapped(nn.Module):
    """The third round adds to `x`, which the first two hand on."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        first, second, sums = x + 1, x + 2, [x.sum()]
        for _ in range(3):
            first += 1
            sums.append(first.sum())
            first, second = second, x
        return x.mean(0), first, sums


@pytest.mark.parametrize(("model", "written"), [(HandedOn(), True), (Summed(), False), (Swapped(), True)])
def test_what_a_round_writes_to(model: nn.Module, written: bool) -> None:
    graph = Graph(inlined(torch.jit.script(model.eval()), frozenset(), "forward"))
    (mean,) = [op for op in graph.code.every_op() if op.kind == "aten::mean"]
    assert graph.is_written(mean.inputs[0]) is written
