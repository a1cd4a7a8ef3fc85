"""Compiled modules take inputs of other strides than the example, as the model does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

CONTIGUOUS = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
CHANNELS_LAST = CONTIGUOUS.to(memory_format=torch.channels_last)
TRANSPOSED = CONTIGUOUS.mT.contiguous().mT
LAYOUTS = (CONTIGUOUS, CHANNELS_LAST, TRANSPOSED)


class Flat(nn.Module):
    """Views of the input as it is, and with channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x.permute(0, 2, 3, 1).reshape(-1, 3)).relu() * 2, torch.flatten(x, 1).tanh() * 2


class BetweenEngines(nn.Module):
    """A view of what a convolution gives, whose strides TensorRT chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.layer = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).relu().permute(0, 2, 3, 1).reshape(-1, 4)
        return self.layer(torch.kthvalue(y, 2, dim=-1, keepdim=True)[0] + torch.ones(4)).relu()


class InABranch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: torch.flatten(x, 1) * 2, lambda x: torch.flatten(x, 1) - 1, (x,))


@pytest.mark.parametrize("example", [CONTIGUOUS, CHANNELS_LAST])
@pytest.mark.parametrize(
    ("model", "left"),
    [
        (Flat(), set()),
        (Flat(), {"aten.view", "aten.permute"}),
        (BetweenEngines(), {"aten.view", "aten.permute", "aten.kthvalue"}),
        (InABranch(), set()),
    ],
)
@pytest.mark.parametrize("executor", ["pytorch", "reference"])
def test_strides_are_free(model: nn.Module, left: set[str], example: Tensor, executor: Any) -> None:
    model = model.eval().to(memory_format=torch.channels_last)
    module = tp.compile(model, [example], executor=executor, min_block_size=1, torch_executed_ops=left)
    for x in LAYOUTS:
        torch.testing.assert_close(module(x), model(x), check_stride=False)


def test_strides_are_free_in_a_dry_run() -> None:
    module = tp.compile(Flat().eval(), [CONTIGUOUS], dryrun=True)
    for x in LAYOUTS:
        assert module(x)[1].shape == (2, 48)
    branches = tp.compile(InABranch().eval(), [CONTIGUOUS], dryrun=True)
    for x in LAYOUTS:
        torch.testing.assert_close(branches(x), InABranch()(x))
