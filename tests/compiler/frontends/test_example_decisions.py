"""Models that decide by values of tensors: constants are followed, the rest only where it is asked for, and checked."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn


class PadsByBuffers(nn.Module):
    """Encodec and Mimi compute their padding from buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("size", torch.tensor(3))
        self.register_buffer("stride", torch.tensor(2))
        self.conv = nn.Conv1d(2, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = torch.ceil((x.shape[-1] - self.size) / self.stride + 1).to(torch.int64)
        more = frames * self.stride + self.size - x.shape[-1]
        return self.conv(nn.functional.pad(x, (0, more)) if more > 0 else x)


class BlocksOfAList(nn.Module):
    """Pixtral's mask has blocks whose ends are a cumulative sum of a list."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(5, 5)
        for start, end in zip(torch.tensor([0, 2]), torch.tensor([2, 3]).cumsum(-1), strict=True):
            mask[start:end, start:end] = 1
        return x @ mask + sum(torch.arange(3).tolist())


class ExpandsAWeight(nn.Module):
    """What is folded into an expanded constant is not copied as the examples were."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.tensor([4, 4])[0]
        x = x + self.weight.expand(4, 8) if rows == 4 else x
        return x * torch.arange(0, rows).sum()


class CountsInPlace(nn.Module):
    """PyTorch runs `index_add_` twice where it computes with numbers while it traces."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sizes", torch.tensor([1.0, 2, 3]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        counts = torch.zeros(3)
        counts.index_add_(0, torch.tensor([0, 1, 1]), self.sizes)
        counts[1:].mul_(2)
        torch.add(counts, 1, out=counts)
        return x[: int(counts.sum())] * (2 if counts[1] == 11 else 5)


class Padding(nn.Module):
    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        mask = ids.eq(1)
        return x.masked_fill(mask, 0) * 3 if mask.any() else x * 2


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 8, 8))
        self.gate = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chosen = nn.functional.one_hot(self.gate(x).topk(2, -1).indices, 4).permute(2, 1, 0)
        result = torch.zeros_like(x)
        for found in chosen.sum((-1, -2)).greater(0).nonzero():
            expert = int(found.item())
            _, rows = torch.where(chosen[expert])
            result.index_add_(0, rows, x[rows] @ self.weight[expert])
        return result


class Repeats(nn.Module):
    """Towers of vision: lengths of segments come from the sizes of images, which are a tensor."""

    def forward(self, x: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        lengths = torch.repeat_interleave(sizes[:, 1], sizes[:, 0]).cumsum(0)
        if lengths[-1] < 9:
            x = x.repeat_interleave(sizes[:1, 1], dim=1) + torch.repeat_interleave(sizes[:, 0]).sum()
        return torch.cat([each.softmax(0) for each in x.split(torch.diff(lengths, prepend=lengths[:1] * 0).tolist())])


class OnlyThose(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x[x > 0].shape[0] > 2 else x


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        return x * 2 if self.calls > 1 else x


class Copied(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = torch.zeros(3)
        kept.copy_(x[:3])
        return x * 2 if kept.sum() > 0 else x


class Random(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if torch.rand(1) > 0.5 else x


@pytest.mark.parametrize(
    ("model", "shape"),
    [(PadsByBuffers(), (1, 2, 8)), (BlocksOfAList(), (2, 5)), (CountsInPlace(), (20, 2)), (ExpandsAWeight(), (4, 8))],
)
def test_what_constants_decide_is_followed(model: nn.Module, shape: tuple[int, ...], tmp_path: Path) -> None:
    x = torch.randn(shape)
    compiled = tp.compile(model, [x], executor="reference", min_block_size=1)
    assert compiled.report.coverage == 1
    tp.save(compiled, tmp_path / "model.pt2")
    for found in (compiled, tp.load(tmp_path / "model.pt2", executor="pytorch")):
        torch.testing.assert_close(found(x + 1), model(x + 1))


def test_sizes_that_vary_are_no_constants() -> None:
    item = tp.Input(min_shape=(1, 2, 6), opt_shape=(1, 2, 8), max_shape=(1, 2, 12))
    with pytest.raises(tp.UserError, match=r"decides by a value of a tensor at .*test_example_decisions\.py:\d+"):
        tp.trace(PadsByBuffers(), [item])


INPUTS: list[tuple[nn.Module, list[torch.Tensor], list[torch.Tensor]]] = [
    (Padding(), [torch.randn(2, 3), torch.tensor([3, 4, 5])], [torch.randn(2, 3), torch.tensor([1, 4, 5])]),
    (Padding(), [torch.randn(2, 3), torch.tensor([1, 4, 5])], [torch.randn(2, 3), torch.tensor([3, 4, 5])]),
    (
        Repeats(),
        [torch.randn(7, 2), torch.tensor([[2, 2], [0, 4], [1, 3]])],
        [torch.randn(7, 2), torch.tensor([[1, 3], [0, 4], [2, 2]])],
    ),
    (OnlyThose(), [torch.ones(4)], [torch.tensor([1.0, -1.0, 1.0, 1.0])]),
    (OnlyThose(), [torch.tensor([1.0, -1.0, -1.0, -1.0])], [torch.ones(4)]),
    (Copied(), [torch.ones(4)], [-torch.ones(4)]),
]


@pytest.mark.parametrize(("model", "inputs", "others"), INPUTS)
def test_what_inputs_decide_is_refused_or_checked(
    model: nn.Module, inputs: list[torch.Tensor], others: list[torch.Tensor], tmp_path: Path
) -> None:
    with pytest.raises(tp.UserError, match=r"test_example_decisions\.py:\d+.*decide_by_examples=True"):
        tp.trace(model, inputs)
    compiled = tp.compile(model, inputs, decide_by_examples=True, executor="reference", min_block_size=1)
    tp.save(compiled, tmp_path / "model.pt2")
    for found in (compiled, tp.load(tmp_path / "model.pt2", executor="pytorch")):
        torch.testing.assert_close(found(*inputs), model(*inputs))
        with pytest.raises(RuntimeError, match=r"decides by a value of a tensor at .*test_example_decisions\.py:\d+"):
            found(*others)


def test_experts_that_were_chosen() -> None:
    torch.manual_seed(0)
    model, x = Experts(), torch.randn(6, 8)
    compiled = tp.compile(model, [x], decide_by_examples=True, executor="reference", min_block_size=1)
    torch.testing.assert_close(compiled(x), model(x))
    with pytest.raises(RuntimeError):
        compiled(-x)


def test_what_experts_wrote_in_place_decides_in_the_next_layer() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(Experts(), Experts(), Experts()), torch.randn(6, 8)
    compiled = tp.compile(model, [x], decide_by_examples=True, executor="reference", min_block_size=1)
    torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize(("model", "inputs"), [(Counts(), [torch.ones(3)]), (Random(), [torch.ones(3)])])
def test_what_differs_between_calls_is_no_constant(model: nn.Module, inputs: list[torch.Tensor]) -> None:
    with pytest.raises(tp.UserError, match=r"decide_by_examples=True"):
        tp.trace(copy.deepcopy(model), inputs)


@pytest.mark.parametrize(
    ("model", "inputs", "options", "message"),
    [
        (Copied(), [tp.Input((4,))], {}, "give example tensors"),
        (Copied(), [torch.ones(4)], {"ir": "torch_compile"}, "leaves such decisions to Python"),
        (torch.export.export(nn.ReLU(), (torch.ones(4),)), [torch.ones(4)], {}, "is already: leave it out"),
    ],
)
def test_where_it_means_nothing(model: Any, inputs: list[Any], options: dict[str, str], message: str) -> None:
    with pytest.raises(tp.UserError, match=message):
        tp.compile(model, inputs, decide_by_examples=True, **options)
