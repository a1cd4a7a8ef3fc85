"""Rows written to a cache: in the memory of an input where the engine may, else by a selection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.operators import WRITE_ROWS

from tests.marks import gpu
from tests.oracle import TOLERANCES

HEADS, POSITIONS, DIM = 3, 8, 16
ONE, SOME = (1, 1, 1), (1, 2, 5)


class Attends(nn.Module):
    """Writes keys and values, and attends to all: keys, values [B,3,8,16], rows [B,3,S,16], start i64[1]."""

    def forward(self, keys: torch.Tensor, values: torch.Tensor, rows: torch.Tensor, start: torch.Tensor) -> Any:
        keys, values = WRITE_ROWS(keys, rows, start), WRITE_ROWS(values, rows * 2, start)
        return (rows @ keys.transpose(-2, -1)).softmax(-1) @ values, keys, values


def inputs(dtype: torch.dtype = torch.float32) -> list[tp.Input]:
    def sizes(middle: int | None) -> list[Any]:
        tokens = [(middle,) * 3] * 2 if middle else [ONE, SOME]
        batches = [(1, 1, 1), (1, 2, 2)]
        return [
            tuple((b, HEADS, t, DIM) for b, t in zip(batch, token, strict=True))
            for batch, token in zip(batches, tokens, strict=True)
        ]

    cache = tp.Input(shapes=sizes(POSITIONS), dtype=dtype)
    return [cache, cache, tp.Input(shapes=sizes(None), dtype=dtype), tp.Input((1,), dtype=torch.int64)]


def arguments(batch: int, count: int, start: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    keys, values = (torch.randn(batch, HEADS, POSITIONS, DIM).to(dtype) for _ in range(2))
    return [keys, values, torch.randn(batch, HEADS, count, DIM).to(dtype), torch.tensor([start])]


def compiled_for(model: nn.Module, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    return tp.compile(model, inputs(dtype), **{"min_block_size": 1, "executor": "reference", **options})


def assert_in_place(compiled: Any, given: list[torch.Tensor], dtype: torch.dtype = torch.float32) -> None:
    relative, absolute = TOLERANCES[dtype]
    wanted = Attends()(*(tensor.float() if tensor.is_floating_point() else tensor for tensor in given))
    found = compiled(*given)
    for ours, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours.float(), exact, rtol=relative, atol=absolute)
    # Both are one memory: what was given holds the new rows.
    for tensor, result in zip(given[:2], found[1:], strict=True):
        assert tensor.data_ptr() == result.data_ptr()
        assert torch.equal(tensor, result)


CASES = [(1, 1, 0), (1, 1, 7), (2, 1, 3), (2, 5, 3), (1, 4, 4)]


@pytest.mark.parametrize("executor", ["reference", "pytorch"])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_rows_are_written_in_the_memory_of_the_cache(dtype: torch.dtype, executor: str) -> None:
    compiled = compiled_for(Attends(), dtype, executor=executor)
    (segment,) = compiled.segments.values()
    assert sorted(item.alias or "" for item in segment.spec.outputs) == ["", "keys", "values"]
    assert "KV_CACHE_UPDATE" in compiled.report.program.segments[0].network.text()
    for batch, count, start in CASES:
        assert_in_place(compiled, arguments(batch, count, start, dtype), dtype)


def test_a_file_keeps_aliases(tmp_path: Path) -> None:
    compiled = compiled_for(Attends())
    tp.save(compiled, tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2", executor="pytorch")
    (segment,) = loaded.segments.values()
    assert segment.spec == next(iter(compiled.segments.values())).spec
    assert segment.spec.aliases
    assert_in_place(loaded, arguments(2, 5, 1))


@pytest.mark.parametrize("executor", ["reference", "pytorch"])
def test_a_row_behind_the_last_place_is_an_error(executor: str) -> None:
    compiled = compiled_for(Attends(), executor=executor)
    given = arguments(1, 2, 7)
    before = given[0].clone()
    with pytest.raises(Exception, match=r"do not fit a cache of 8|index out of bounds|out of range|out of bounds"):
        compiled(*given)
    assert torch.equal(given[0], before)


class ReadBefore(nn.Module):
    """What was in the cache is read after the write, so that it must not be gone."""

    def forward(self, keys: torch.Tensor, values: torch.Tensor, rows: torch.Tensor, start: torch.Tensor) -> Any:
        written = WRITE_ROWS(keys, rows, start)
        return written, written - keys, (values * 2).sum()


class Computed(nn.Module):
    """A cache that is no input, and one whose result does not leave the engine."""

    def forward(self, keys: torch.Tensor, values: torch.Tensor, rows: torch.Tensor, start: torch.Tensor) -> Any:
        return WRITE_ROWS(keys * 2, rows, start), WRITE_ROWS(values, rows, start).sum(2)


@pytest.mark.parametrize("model", [ReadBefore(), Computed()])
def test_other_caches_are_written_elsewhere(model: nn.Module) -> None:
    compiled = compiled_for(model)
    (segment,) = compiled.segments.values()
    assert segment.spec.aliases == {}
    for batch, count, start in CASES:
        given = arguments(batch, count, start)
        before = [tensor.clone() for tensor in given]
        torch.testing.assert_close(compiled(*given), model(*before), rtol=1e-4, atol=1e-5)
        assert all(map(torch.equal, given, before))


@gpu
@pytest.mark.parametrize("options", [{}, {"reuse_outputs": True}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_engines_write_in_place_on_a_gpu(dtype: torch.dtype, options: dict[str, Any]) -> None:
    compiled = compiled_for(Attends().cuda(), dtype, executor="tensorrt", **options)
    for batch, count, start in [*CASES, *CASES]:
        given = [tensor.cuda() for tensor in arguments(batch, count, start, dtype)]
        assert_in_place(compiled, given, torch.float16)  # kernels of float32 may round to TF32
    # Memory that TensorRT does not take is written to as well.
    given = [tensor.cuda() for tensor in arguments(1, 1, 3, dtype)]
    memory = torch.zeros(given[0].numel() + 1, dtype=dtype, device="cuda")
    given[0] = memory[1:].view(given[0].shape).copy_(given[0])
    assert_in_place(compiled, given, torch.float16)
