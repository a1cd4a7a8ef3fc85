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


class Branched(nn.Module):
    """A branch that reads what is written to afterwards: x [rows,columns]."""

    def forward(self, x):
        y = x * 2
        out = torch.cond(x.sum() > 0, torch.sin, torch.cos, (y,))
        y[[0, -1]] = 0.001
        return out, y


def test_scatters_beside_branches_write_to_copies():
    """An engine wrote in place, before the branch, which read `y` later."""
    built = check(Branched(), [torch.rand(3, 4)])
    assert built.layers().count("GATHER") == 1
    plain = check(lambda x: (x.sin(), x.index_fill(0, torch.tensor([0]), 0.001)), [torch.rand(3, 4)])
    assert "GATHER" not in plain.layers()


def test_copies_beside_branches_are_right_at_any_size():
    sizes = tp.Input(min_shape=(1, 1), opt_shape=(3, 4), max_shape=(5, 9))
    compiled = tp.compile(Branched(), [sizes], min_block_size=1, executor="reference")
    for shape in ((1, 1), (3, 5)):
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x), Branched()(x))


@gpu
def test_engines_run_branches_before_what_is_written_later():
    compiled = tp.compile(Branched(), [torch.rand(3, 4)], min_block_size=1, executor="tensorrt").cuda()
    x = torch.rand(3, 4, device="cuda")
    torch.testing.assert_close(compiled(x), Branched()(x))
