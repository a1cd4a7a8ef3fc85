"""What reads memory by strides finds what it finds in the model, though results of engines lie in their own order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from torch.nn import functional as F

X = torch.arange(48.0).reshape(2, 6, 4) / 10


def transposed(x: Tensor) -> Tensor:
    y = torch.relu(x).transpose(0, 1)
    return torch.tanh(y.as_strided((3, 2, 4), (2 * y.stride(0), y.stride(1), y.stride(2))))


def computed_in_its_order(x: Tensor) -> Tensor:
    y = (torch.relu(x) * 2).transpose(0, 1).transpose(1, 2) + 1
    return torch.tanh(y.as_strided((3, *y.shape[1:]), y.stride()))


def overlapping_chunks(x: Tensor) -> Tensor:
    y = F.gelu(x).transpose(1, 2)
    first, second, third = y.stride()
    return (y.as_strided((2, 4, 2, 4), (first, second, third * 2, third)) + 1).sum(-1)


def outside_of_a_slice(x: Tensor) -> Tensor:
    return torch.tanh((torch.relu(x) * 2)[:, 1:].as_strided((2, 30), (1, 1), 3))


def of_a_slice_with_its_offset(x: Tensor) -> Tensor:
    return torch.exp(-(torch.relu(x) * 2)[:, 1:].as_strided((2, 3), (1, 2)))


def written(x: Tensor) -> Tensor:
    y = (torch.relu(x) + 1).transpose(0, 1)
    return torch.as_strided_scatter(y, torch.ones(3, 3), (3, 3), (4, 1), 2).sum(0)


def written_in_place(x: Tensor) -> Tensor:
    y = (torch.relu(x) + 1).transpose(0, 1).clone()
    y.as_strided((3, 3), (4, 1), 2).mul_(3)
    return y.sum(0)


class Of(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


READS = [transposed, computed_in_its_order, overlapping_chunks, outside_of_a_slice, of_a_slice_with_its_offset, written]


@pytest.mark.parametrize("function", READS)
def test_memory_is_read_in_the_engine(function: Callable[[Tensor], Tensor]) -> None:
    compiled = tp.compile(Of(function), [X], min_block_size=1, executor="reference")
    assert compiled.report.coverage == 1
    assert len(compiled.report.segments) == 1
    torch.testing.assert_close(compiled(X), function(X))


@pytest.mark.parametrize("function", [*READS, written_in_place])
def test_pytorch_reads_memory_that_an_engine_wrote(function: Callable[[Tensor], Tensor]) -> None:
    left = {"aten.as_strided", "aten.as_strided_copy", "aten.as_strided_scatter"}
    compiled = tp.compile(Of(function), [X], min_block_size=1, executor="reference", torch_executed_ops=left)
    torch.testing.assert_close(compiled(X), function(X))


def test_memory_in_the_order_of_channels_last_with_a_range_of_sizes() -> None:
    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.relu(self.conv(x)).permute(0, 2, 3, 1)
            return torch.exp(-y.as_strided((y.shape[1], 2), (y.stride(1), y.stride(2))))

    model = Frames().eval().requires_grad_(False)
    compiled = tp.compile(model, ["1x3x2..4..9x5"], min_block_size=1, executor="reference")
    for rows in (2, 3, 9):
        x = torch.randn(1, 3, rows, 5)
        torch.testing.assert_close(compiled(x), model(x))


def test_nothing_is_rewritten_where_memory_is_in_order() -> None:
    program = tp.trace(Of(lambda x: torch.relu(x).as_strided((3, 4), (4, 1), 2)), [X])
    report = tp.PassManager(tp.Pipeline.parse("decompose")).run(program)
    assert [str(node.target) for node in report.program.op_nodes] == ["aten.relu.default", "aten.as_strided.default"]
