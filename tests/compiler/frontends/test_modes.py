"""Autocast and the default type, which a model turns on for a part of itself, in a graph of torch.fx."""

import torch
import trt_passes as tp
from torch import nn


class Moded(nn.Module):
    """Parts with autocast on, off within, and with another default type: x [rows,4]."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            product, linear = x @ x.mT, self.linear(x)
            with torch.autocast("cpu", enabled=False):
                exact = x @ x.mT
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        wide = torch.ones(x.shape[-1]) / 3 + x.sum()
        torch.set_default_dtype(before)
        return product, linear, exact, wide, x + torch.ones(4)


def test_modes_of_a_part_are_those_of_its_nodes():
    model, x = Moded().eval(), torch.randn(3, 4)
    compiled = tp.compile(model, [x], ir="fx", min_block_size=1, executor="reference")
    found, expected = compiled(x), model(x)
    assert [item.dtype for item in found] == [item.dtype for item in expected]
    torch.testing.assert_close(found[:2], expected[:2], rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(found[2:], expected[2:])
    assert torch.get_default_dtype() == torch.float32
    assert not torch.is_autocast_enabled("cpu")
