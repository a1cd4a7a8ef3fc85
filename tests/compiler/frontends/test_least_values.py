"""Numbers known at run time that are at least as large as a size, for sizes that tracing assumes away."""

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.export import Dim


class Counted(nn.Module):
    """The number of every value, one for each row at least: x [rows,4], i int64[n]."""

    def forward(self, x, i):
        return torch.bincount(i.clamp(0, 3), minlength=x.shape[0]) * 2, x * 2


class Checked(nn.Module):
    """A number that is said to be twice the rows or more."""

    def forward(self, x, i):
        n = i.max().item()
        torch._check(n >= x.shape[0] * 2)
        return torch.ones(n) + 1, x * 2


@pytest.mark.parametrize("frontend", ["dynamo", "exported"])
@pytest.mark.parametrize("kind", [Counted, Checked])
def test_one_row_is_a_size_like_others(kind, frontend):
    """Tracing takes sizes for 2 or more, and made such checks of that."""
    model, i = kind(), torch.tensor([0, 2, 1])
    given = [tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4)), i]
    if frontend == "exported":
        shapes = ({0: Dim("rows", min=1, max=6)}, None)
        model = torch.export.export(model, (torch.randn(3, 4), torch.tensor([0, 9, 1])), dynamic_shapes=shapes)
        given = None
    compiled = tp.compile(model, given, min_block_size=1, executor="reference")
    x = torch.randn(1, 4)
    torch.testing.assert_close(compiled(x, i), kind()(x, i))
    if kind is Checked:
        with pytest.raises(RuntimeError, match="<= u"):
            compiled(torch.randn(3, 4), i)
