"""Caches that engines write to in place, and those that PyTorch writes to: the same tokens, to the last position and
not beyond, and each its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from trt_passes.generation.step import cache_argument
from trt_passes.transformers import compile_for_generation

from .models import decoder
from .test_decoders import GREEDY, tokens

POSITIONS = 24


@pytest.fixture(scope="module")
def model() -> Any:
    return decoder("gemma3")


def compiled_for(model: Any, **options: Any) -> Any:
    return compile_for_generation(
        model, max_cache_len=POSITIONS, batch=2, prefill=8, min_block_size=1, executor="reference", **options
    )


@pytest.fixture(
    scope="module",
    params=[pytest.param(None, id="in place"), pytest.param(False, id="by PyTorch", marks=pytest.mark.long)],
)
def compiled(model: Any, request: pytest.FixtureRequest) -> Any:
    return compiled_for(model, in_place=request.param)


def test_all_caches_are_written_in_place_by_default(model: Any, compiled: Any) -> None:
    (segment,) = compiled.programs["step"].segments.values()
    in_place = compiled.plan.layout.in_place
    assert len(segment.spec.aliases) == (2 * model.config.num_hidden_layers if in_place else 0)
    bytes_of_all = 2 * 2 * 2 * POSITIONS * 16 * 4  # layers, keys and values, heads, positions, width, float32
    note = compiled.programs["step"].report.notes[-1]
    copied = "a step copies 0 bytes" if in_place else f"up to {2 * bytes_of_all:,} bytes of it for each sequence"
    assert copied in note
    assert compiled.plan.layout.bytes_copied() == (0 if in_place else 2 * bytes_of_all)


@pytest.mark.long
def test_what_no_engine_writes_is_not_in_place(model: Any) -> None:
    options = {"torch_executed_ops": ["trt_passes.write_rows"]}
    assert not compiled_for(model, **options).plan.layout.in_place
    with pytest.warns(RuntimeWarning, match="4 of the 4 tensors of the cache are not written in place"):
        assert compiled_for(model, in_place=True, **options).plan.layout.in_place


@pytest.mark.parametrize(("batch", "length"), [(1, 3), (2, 11)])
def test_tokens_are_those_of_eager_mode(model: Any, compiled: Any, batch: int, length: int) -> None:
    ids = tokens(batch, length)
    options = {**GREEDY, "max_new_tokens": POSITIONS - length}
    assert torch.equal(compiled.generate(ids, **options), model.generate(ids, **options))


def test_the_last_position_is_filled_and_none_beyond(model: Any, compiled: Any) -> None:
    ids, name = tokens(1, POSITIONS), cache_argument(type(model))
    cache = compiled.new_cache()
    compiled(ids[:, :-1], **{name: cache})
    last = compiled(ids[:, -1:], **{name: cache}).logits[:, -1]
    torch.testing.assert_close(last, model(ids).logits[:, -1], rtol=1e-3, atol=1e-3)
    with pytest.raises(tp.UserError, match="has 24 positions, of which 24 are filled"):
        compiled(ids[:, :1], **{name: cache})
    cache.reset()
    first = compiled(ids[:, :1], **{name: cache}).logits[:, -1]
    torch.testing.assert_close(first, model(ids[:, :1]).logits[:, -1], rtol=1e-3, atol=1e-3)


def test_two_caches_take_turns(model: Any, compiled: Any) -> None:
    rows, name = tokens(2, 12), cache_argument(type(model))
    caches = [compiled.new_cache(), compiled.new_cache()]
    for place in range(12):
        for row, cache in zip(rows.split(1), caches, strict=True):
            found = compiled(row[:, place : place + 1], **{name: cache}).logits[:, -1]
    torch.testing.assert_close(found, model(rows[1:]).logits[:, -1], rtol=1e-3, atol=1e-3)


def test_a_file_writes_likewise(model: Any, compiled: Any, tmp_path: Path) -> None:
    tp.save(compiled, tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2", executor="pytorch")
    assert loaded.plan.layout.in_place == compiled.plan.layout.in_place
    ids = tokens(2, 5)
    options = {**GREEDY, "max_new_tokens": 9}
    assert torch.equal(loaded.generate(ids, **options), model.generate(ids, **options))
