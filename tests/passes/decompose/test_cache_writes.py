"""Writes of consecutive rows to buffers and arguments are done in place, and what is outside is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

from tests.marks import gpu

SHAPE = (2, 3, 8, 4)


class Cached(nn.Module):
    """A cache of keys as a buffer; `forward` writes some rows, and multiplies by all."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(SHAPE))

    def write(self, rows: torch.Tensor, start: torch.Tensor) -> None:
        self.keys.index_copy_(2, start + torch.arange(rows.shape[2], device=rows.device), rows)

    def forward(self, rows: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        self.write(rows, start)
        return (rows @ self.keys.transpose(-1, -2)).softmax(-1)


class Indexed(Cached):
    def write(self, rows: torch.Tensor, start: torch.Tensor) -> None:
        self.keys[:, :, torch.arange(rows.shape[2], device=rows.device) + start.reshape(())] = rows


class Counting(Cached):
    """As transformers' static cache: the number of rows that are there is a buffer, too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filled", torch.zeros(1, dtype=torch.int64))

    def write(self, rows: torch.Tensor, start: torch.Tensor) -> None:
        self.keys.index_copy_(2, self.filled + torch.arange(rows.shape[2], device=rows.device), rows)
        self.filled.add_(rows.shape[2])


class Sliced(Cached):
    def write(self, rows: torch.Tensor, start: torch.Tensor) -> None:
        self.keys[:, :, 5:6].copy_(rows[:, :, :1])


class Scattered(Cached):
    def forward(self, rows: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        self.keys.copy_(self.keys.slice_scatter(rows[:, :, :1], 2, 3, 4))
        return self.keys * 2


class Given(nn.Module):
    """The cache is an argument, which is written to and returned."""

    def forward(self, cache: torch.Tensor, row: torch.Tensor, place: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cache.index_copy_(2, place, row)
        return cache.sum(2), cache


ROWS = tp.Input(min_shape=(2, 3, 1, 4), opt_shape=(2, 3, 2, 4), max_shape=(2, 3, 5, 4))
START = tp.Input((1,), dtype=torch.int64)


def compiled_for(model: nn.Module, inputs: Any = (ROWS, START), **options: Any) -> Any:
    return tp.compile(model, list(inputs), **{"min_block_size": 1, "executor": "reference", **options})


def aliases(compiled: Any) -> int:
    return sum(len(segment.spec.aliases) for segment in compiled.segments.values())


@pytest.mark.parametrize("executor", ["reference", "pytorch"])
@pytest.mark.parametrize("kind", [Cached, Indexed, Counting, Sliced, Scattered])
def test_a_buffer_is_written_in_place(kind: type[Cached], executor: str) -> None:
    model, ours = kind().eval(), kind().eval()
    compiled = compiled_for(ours, executor=executor)
    assert aliases(compiled) == 1
    assert len(compiled.segments) == 1
    address = ours.keys.data_ptr()
    for count, start in ((3, 0), (1, 3), (2, 4), (1, 6), (1, 7)):
        rows = torch.randn(2, 3, count, 4)
        found = compiled(rows, torch.tensor([start]))
        torch.testing.assert_close(found, model(rows, torch.tensor([start])), rtol=1e-4, atol=1e-5)
        assert torch.equal(ours.keys, model.keys)
    assert ours.keys.data_ptr() == address


@pytest.mark.parametrize("executor", ["reference", "pytorch"])
@pytest.mark.parametrize("kind", [Cached, Counting])
def test_one_row_too_many_is_an_error(kind: type[Cached], executor: str) -> None:
    compiled = compiled_for(kind().eval(), executor=executor)
    compiled(torch.randn(2, 3, 5, 4), torch.tensor([0]))
    compiled(torch.randn(2, 3, 3, 4), torch.tensor([5]))
    with pytest.raises(Exception, match=r"outside of its places|out of bounds|out of range"):
        compiled(torch.randn(2, 3, 1, 4), torch.tensor([8]))


@pytest.mark.parametrize("ir", ["fx", "torch_compile", "ts"])
def test_other_front_ends(ir: str) -> None:
    model, ours = Cached().eval(), Cached().eval()
    inputs = [torch.zeros(2, 3, 2, 4), torch.tensor([0])]
    compiled = tp.compile(ours, inputs, ir=ir, min_block_size=1, executor="pytorch" if ir == "ts" else "reference")
    for start in (0, 6):
        rows = torch.randn(2, 3, 2, 4)
        found = compiled(rows, torch.tensor([start]))
        torch.testing.assert_close(found, model(rows, torch.tensor([start])), rtol=1e-4, atol=1e-5)
        assert torch.equal(ours.keys, model.keys)
    with pytest.raises(Exception, match="outside of its places"):
        compiled(torch.randn(2, 3, 2, 4), torch.tensor([7]))


def test_places_from_the_end_are_those_of_pytorch() -> None:
    model, ours = Indexed().eval(), Indexed().eval()
    compiled = compiled_for(ours)
    for count, start in ((1, -1), (3, -3), (2, -8)):
        rows = torch.randn(2, 3, count, 4)
        compiled(rows, torch.tensor([start]))
        model(rows, torch.tensor([start]))
        assert torch.equal(ours.keys, model.keys)
    with pytest.raises(Exception, match="outside of its places"):
        compiled(torch.randn(2, 3, 2, 4), torch.tensor([-1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_argument_is_written_in_place(dtype: torch.dtype) -> None:
    model = Given().eval()
    inputs = [torch.zeros(SHAPE, dtype=dtype), torch.zeros(2, 3, 1, 4, dtype=dtype), torch.tensor([0])]
    compiled = compiled_for(model, inputs)
    assert aliases(compiled) == 1
    mine, theirs = (torch.zeros(SHAPE, dtype=dtype) for _ in range(2))
    for place in (0, 7, 3):
        row = torch.randn(2, 3, 1, 4).to(dtype)
        total, cache = compiled(mine, row, torch.tensor([place]))
        wanted, _ = model(theirs, row, torch.tensor([place]))
        torch.testing.assert_close(total, wanted, rtol=2e-2, atol=2e-2)
        assert torch.equal(mine, theirs)
        assert torch.equal(cache, mine)


def test_a_file_writes_in_place_too(tmp_path: Path) -> None:
    compiled = compiled_for(Cached().eval())
    tp.save(compiled, tmp_path / "model.pt2")
    loaded, model = tp.load(tmp_path / "model.pt2", executor="pytorch"), Cached().eval()
    assert aliases(loaded) == 1
    for start in (0, 2):
        rows = torch.randn(2, 3, 2, 4)
        torch.testing.assert_close(loaded(rows, torch.tensor([start])), model(rows, torch.tensor([start])))


class Elsewhere(nn.Module):
    """Writes that no engine can do in place: any places, the old rows read afterwards, another dimension, a sum."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("any", "read", "other", "summed"):
            self.register_buffer(name, torch.zeros(SHAPE))

    def forward(self, rows: torch.Tensor, start: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        before = self.read * 2
        consecutive = start + torch.arange(2)
        self.any[:, :, places] = rows
        self.read.index_copy_(2, consecutive, rows)
        self.other.index_copy_(1, start, rows.new_ones(2, 1, 8, 4))
        torch.ops.aten.index_put_(self.summed, [None, None, consecutive], rows, True)
        return before + self.any + self.read * 3 + self.other + self.summed


def test_other_writes_stay_what_they_are() -> None:
    model, ours = Elsewhere().eval(), Elsewhere().eval()
    inputs = [torch.zeros(2, 3, 2, 4), torch.tensor([0]), torch.tensor([0, 1])]
    compiled = compiled_for(ours, inputs)
    assert aliases(compiled) == 0
    (note,) = (note for note in compiled.report.notes if "caches that the model writes to" in note)
    assert "4 caches" in note
    assert f"{4 * 2 * 3 * 8 * 4 * 4} bytes per call" in note
    for start, places in ((1, (6, 2)), (0, (0, 7)), (2, (3, 4))):
        given = torch.randn(2, 3, 2, 4), torch.tensor([start]), torch.tensor(places)
        torch.testing.assert_close(compiled(*given), model(*given), rtol=1e-4, atol=1e-5)
        for mine, theirs in zip(ours.buffers(), model.buffers(), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_what_must_be_whole_has_no_assertion() -> None:
    model, ours = Cached().eval(), Cached().eval()
    compiled = compiled_for(ours, require_full_compilation=True)
    assert compiled.report.coverage == 1
    rows = torch.randn(2, 3, 2, 4)
    torch.testing.assert_close(compiled(rows, torch.tensor([3])), model(rows, torch.tensor([3])), rtol=1e-4, atol=1e-5)
    assert torch.equal(ours.keys, model.keys)


@gpu
@pytest.mark.parametrize("options", [{}, {"cuda_graphs": True}])
@pytest.mark.parametrize("kind", [Cached, Counting, Sliced])
def test_a_buffer_is_written_in_place_on_a_gpu(kind: type[Cached], options: dict[str, Any]) -> None:
    model, ours = kind().eval().cuda(), kind().eval().cuda()
    compiled = compiled_for(ours, executor="tensorrt", **options)
    assert aliases(compiled) == 1
    address = ours.keys.data_ptr()
    for _ in range(4):  # of which the first ones are warm-up, and the last ones replay
        for buffer in (*model.buffers(), *ours.buffers()):
            buffer.zero_()
        for count, start in ((3, 0), (1, 3), (2, 4), (1, 6), (1, 7)):
            rows = torch.randn(2, 3, count, 4, device="cuda")
            found = compiled(rows, torch.tensor([start], device="cuda"))
            wanted = model(rows, torch.tensor([start], device="cuda"))
            torch.testing.assert_close(found, wanted, rtol=1e-2, atol=2e-3)
            assert torch.equal(ours.keys, model.keys)
    assert ours.keys.data_ptr() == address
