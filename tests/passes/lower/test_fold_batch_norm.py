from __future__ import annotations

import pytest
import torch
from torch import nn
from trt_passes.passes.lower import FoldBatchNorm

from tests.passes.lower.lowering import assert_same, lowered, ops, program_of

NORM = "aten._native_batch_norm_legit_no_training"


def randomized(module: nn.Module) -> nn.Module:
    for item in module.modules():
        if isinstance(item, nn.modules.batchnorm._BatchNorm):
            item.running_mean.normal_()
            item.running_var.uniform_(0.5, 2)
            if item.affine:
                nn.init.normal_(item.weight)
                nn.init.normal_(item.bias)
    return module.eval()


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)], (2, 4, 5, 5)),
        ([nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6, affine=False)], (2, 4, 5, 5)),
        ([nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)], (2, 4, 5)),
        ([nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)], (2, 2, 4, 4, 4)),
        ([nn.ConvTranspose2d(4, 6, 3, 2), nn.BatchNorm2d(6)], (2, 4, 5, 5)),
        ([nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)], (2, 4, 5, 5)),
        ([nn.Linear(4, 6), nn.BatchNorm1d(6)], (3, 4)),
    ],
)
def test_folds(layers: list[nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape)
    before = program_of(randomized(nn.Sequential(*layers)), [x])
    after = lowered(before, FoldBatchNorm())
    assert NORM in ops(before)
    assert len(ops(after)) == 1
    assert_same(before, after, [x], rtol=1e-4, atol=1e-5)


class Shared(nn.Module):
    """The convolution's result is read by the norm and by the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.norm(y) + y


@pytest.mark.parametrize("module", [Shared(), nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3))])
def test_leaves_a_norm_that_cannot_be_folded(module: nn.Module) -> None:
    before = program_of(randomized(module), [torch.randn(2, 3, 4, 4)])
    assert ops(lowered(before, FoldBatchNorm())) == ops(before)
