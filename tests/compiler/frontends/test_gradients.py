"""Models that compute gradients: refused with their line by torch.export, and left to PyTorch by torch.compile."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

X = torch.randn(3, 4)


class Forces(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            places = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(places.tanh().sum(), places)
        return -gradient


class Jacobians(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.func.vmap(torch.func.jacrev(lambda y: (y**3).sum()))(x)


def test_gradients_are_refused_with_their_line() -> None:
    with pytest.raises(tp.UserError, match=r"computes gradients at .*test_gradients\.py:17, .*ir='torch_compile'"):
        tp.compile(Forces(), [X])


def test_tracing_that_gives_up_leaves_no_transform_behind() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(Jacobians(), backend=tp.TorchCompileBackend(executor="reference", min_block_size=1))
    with torch.no_grad(), pytest.warns(RuntimeWarning, match="is left to PyTorch"):
        torch.testing.assert_close(compiled(X), 3 * X**2)
    assert torch._C._functorch.get_dynamic_layer_stack_depth() == 0


class ForwardJacobians(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.func.vmap(torch.func.jacfwd(lambda row: row**3 + row.sum()))(x)


def test_nor_a_level_of_forward_mode() -> None:
    torch._dynamo.reset()
    rows = torch.randn(4, 2)
    compiled = torch.compile(ForwardJacobians(), backend=tp.TorchCompileBackend(executor="reference", min_block_size=1))
    with torch.no_grad(), pytest.warns(RuntimeWarning, match="is left to PyTorch"):
        torch.testing.assert_close(compiled(rows), ForwardJacobians()(rows))
    torch.testing.assert_close(torch.func.jvp(torch.sin, (X,), (X,))[1], X.cos() * X)
