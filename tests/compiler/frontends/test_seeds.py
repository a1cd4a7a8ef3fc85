"""Random numbers that a model draws from a seed of its own."""

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.errors import UserError


class Seeded(nn.Module):
    def forward(self, x):
        torch.manual_seed(3)
        return x + torch.randn_like(x)


class SeededForNothing(nn.Module):
    def forward(self, x):
        torch.manual_seed(5)
        return x + 1


@pytest.mark.parametrize("ir", ["dynamo", "fx"])
def test_numbers_of_a_seed_in_the_model_are_refused(ir):
    """A graph draws others in every call, where the model draws the same ones."""
    torch.manual_seed(11)
    with pytest.raises(UserError, match="from a seed that it sets itself"):
        tp.compile(Seeded(), [torch.randn(3)], ir=ir, executor="reference")


def test_a_seed_that_nothing_is_drawn_from_does_no_harm():
    torch.manual_seed(11)
    compiled = tp.compile(SeededForNothing(), [torch.randn(3)], min_block_size=1, executor="reference")
    torch.testing.assert_close(compiled(torch.ones(3)), torch.full((3,), 2.0))
