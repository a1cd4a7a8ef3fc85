"""On a GPU: steps as CUDA graphs, and logits in half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from trt_passes.generation.step import cache_argument
from trt_passes.transformers import compile_for_generation

from tests.marks import gpu

from .models import decoder
from .test_decoders import GREEDY, tokens

POSITIONS = 128


def compiled_for(model: Any, **options: Any) -> Any:
    return compile_for_generation(model, max_cache_len=POSITIONS, batch=3, prefill=32, min_block_size=1, **options)


@gpu
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("graphs", [False, True])
def test_logits_are_as_exact_as_eager_ones_at_every_position(graphs: bool, in_place: bool) -> None:
    exact = decoder("llama")
    ids = tokens(2, POSITIONS)
    with torch.no_grad():
        wanted = exact(ids).logits
        half = decoder("llama").half().cuda()
        eager = half(ids.cuda()).logits.float().cpu()
    compiled = compiled_for(half, cuda_graphs=graphs, in_place=in_place, executor="tensorrt")
    cache = compiled.new_cache()
    found = [compiled(ids[:, :20].cuda(), **{cache_argument(type(half)): cache}).logits]
    for place in range(20, POSITIONS):
        found.append(compiled(ids[:, place : place + 1].cuda(), **{cache_argument(type(half)): cache}).logits)
    ours = torch.cat(found, dim=1).float().cpu()
    assert compiled.without_graphs is None
    assert (cache.memory.step is not None) == graphs
    allowed = 2 * (eager - wanted).abs().max() + 1e-3
    assert (ours - wanted[:, 19:]).abs().max() <= allowed


@gpu
def test_generations_with_graphs_take_turns() -> None:
    model = decoder("llama").cuda()
    compiled = compiled_for(model, cuda_graphs=True, disable_tf32=True)
    prompts = [tokens(1, 5).cuda(), tokens(1, 9).cuda()]
    name = cache_argument(type(model))
    caches, rows = [compiled.new_cache() for _ in prompts], list(prompts)
    for step in range(12):
        for number, cache in enumerate(caches):
            given = rows[number] if not step else rows[number][:, -1:]
            logits = compiled(given, **{name: cache}).logits
            rows[number] = torch.cat([rows[number], logits[:, -1:].argmax(-1)], dim=1)
    for prompt, row in zip(prompts, rows, strict=True):
        assert torch.equal(row, model.generate(prompt, max_new_tokens=12, **GREEDY))
        assert torch.equal(row, compiled.generate(prompt, max_new_tokens=12, **GREEDY))
