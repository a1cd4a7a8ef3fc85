"""Outputs that have the elements of other outputs, of which TensorRT-RTX would write one only."""

import pytest
import torch
import trt_passes as tp
from torch import nn

from tests.marks import gpu
from tests.oracle import check


class Alike(nn.Module):
    """Results of the same elements in other shapes, besides others: x [rows,columns]."""

    def forward(self, x):
        y = torch.relu(x) + 1
        norm = torch.linalg.vector_norm(y)
        return y, y.view(-1), y[None], norm, norm.repeat(1), norm.reshape(1, 1), y.mT


@pytest.mark.parametrize(("rows", "copies"), [(3, 4), (1, 5)])
def test_all_but_the_first_are_copies(rows, copies):
    """Transposed, a matrix has other elements in order, unless it is a row."""
    built = check(Alike(), [torch.randn(rows, 4)])
    assert built.layers().count("GATHER") == copies


def test_copies_of_any_size_are_right():
    given = tp.Input(min_shape=(1, 1), opt_shape=(3, 4), max_shape=(5, 9))
    compiled = tp.compile(Alike(), [given], min_block_size=1, executor="reference")
    assert len(compiled.report.segments) == 1
    for shape in ((3, 4), (1, 1), (5, 9)):
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x), Alike()(x))


@gpu
@pytest.mark.parametrize("given", [torch.randn(3, 4), tp.Input(min_shape=(1, 1), opt_shape=(3, 4), max_shape=(5, 9))])
def test_engines_write_every_result(given):
    compiled = tp.compile(Alike(), [given], min_block_size=1, executor="tensorrt").cuda()
    x = torch.randn(3, 4, device="cuda")
    torch.testing.assert_close(compiled(x), Alike()(x))
