"""Sizes that dynamo finds out to be constants, among what it gives to branches and bodies."""

import pytest
import torch
from torch import nn
from torch._higher_order_ops.while_loop import while_loop
from trt_passes.compiler.frontends.torch_compile import TorchCompileBackend


class Branch(nn.Module):
    """A branch beside a convolution that fixes one size: x [rows,columns,8,8]."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(8, 4, 1)

    def forward(self, x):
        y = x.mean(0)
        out = torch.cond(y.shape[0] > 2, lambda t: t.sin() * t.shape[1], lambda t: t.cos() + t.shape[2], (y,))
        return out, self.convolution(y)


class Loop(Branch):
    """The body of a loop beside it."""

    def forward(self, x):
        y = x.mean(0)
        count = torch.zeros((), dtype=torch.int64)
        _, out = while_loop(lambda k, t: k < 2, lambda k, t: (k + 1, t * 0.5 + y.shape[1] + y), (count, y))
        return out, self.convolution(y)


@pytest.mark.parametrize("kind", [Branch, Loop])
def test_constant_sizes_are_written_into_branches_and_bodies(kind):
    model = kind().eval().requires_grad_(False)
    backend = TorchCompileBackend(min_block_size=1, executor="reference", pass_through_build_failures=True)
    compiled = torch.compile(model, backend=backend, dynamic=True)
    for shape in ((2, 3, 8, 8), (5, 2, 8, 8)):
        x = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), model(x))
    assert [graph.reason for graph in backend.graphs] == [None] * len(backend.graphs)
