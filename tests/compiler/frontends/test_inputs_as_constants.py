"""Gradients that a model computes with torch.func: torch.export takes its inputs for constants there."""

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.errors import UserError


class Gradient(nn.Module):
    def forward(self, x):
        return torch.func.grad(lambda t: t.sin().sum())(x) + 1


def test_a_gradient_of_an_input_is_refused():
    """The result was a tensor without numbers."""
    with pytest.raises(UserError, match="takes an input of the model for a constant"):
        tp.compile(Gradient(), [torch.randn(3)], executor="reference")


def test_torch_compile_leaves_it_to_pytorch():
    x = torch.randn(3)
    compiled = tp.compile(Gradient(), [x], ir="torch_compile", executor="reference", min_block_size=1)
    torch.testing.assert_close(compiled(x), x.cos() + 1)
