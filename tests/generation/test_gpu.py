"""On a GPU: steps as CUDA graphs, and logits in half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from trt_passes.generation.step import cache_argument
from trt_passes.transformers import compile_for_generation

from tests.marks import gpu

from .models import decoder, encoder_decoder
from .test_decoders import GREEDY, tokens
from .test_encoder_decoders import sources

POSITIONS = 128


def compiled_for(model: Any, **options: Any) -> Any:
    return compile_for_generation(model, max_cache_len=POSITIONS, batch=3, prefill=32, min_block_size=1, **options)


@gpu
@pytest.mark.parametrize(("batch", "in_place"), [(1, None), (2, False), (2, True)])
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_logits_are_as_exact_as_eager_ones_at_every_position(
    name: str, graphs: bool, batch: int, in_place: bool | None
) -> None:
    exact = decoder(name)
    ids = tokens(batch, POSITIONS)
    with torch.no_grad():
        wanted = exact(ids).logits
        half = decoder(name).half().cuda()
        eager = half(ids.cuda()).logits.float().cpu()
    options = {"cuda_graphs": graphs, "in_place": in_place, "token_engine": batch == 1}
    compiled = compiled_for(half, executor="tensorrt", **options)
    cache = compiled.new_cache()
    found = [compiled(ids[:, :20].cuda(), **{cache_argument(type(half)): cache}).logits]
    for place in range(20, POSITIONS):
        found.append(compiled(ids[:, place : place + 1].cuda(), **{cache_argument(type(half)): cache}).logits)
    ours = torch.cat(found, dim=1).float().cpu()
    assert compiled.without_graphs is None
    assert bool(cache.memory.steps) == graphs
    allowed = 2 * (eager - wanted).abs().max() + 1e-3
    assert (ours - wanted[:, 19:]).abs().max() <= allowed


@gpu
@pytest.mark.parametrize("name", ["whisper", "t5"])
def test_steps_with_an_encoder_are_graphs(name: str) -> None:
    exact = encoder_decoder(name)
    given = sources(exact, 12)
    given = {key: tensor[:1] for key, tensor in given.items()}
    half = encoder_decoder(name).half().cuda()
    compiled = compile_for_generation(
        half, max_cache_len=64, prefill=8, min_block_size=1, cuda_graphs=True, executor="tensorrt"
    )
    with torch.no_grad():
        moved = {key: tensor.cuda() for key, tensor in given.items()}
        moved = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in moved.items()}
        # Two sources by turns, the second one the first's opposite, on graphs that read what they are given.
        for _ in range(3):
            for sign in (1, -1):
                turned = {key: tensor * sign if key == "input_features" else tensor for key, tensor in moved.items()}
                ids = compiled.generate(**turned, do_sample=False, max_new_tokens=12)
                if name == "whisper":  # whose answers are without the token that they start with
                    ids = torch.nn.functional.pad(ids, (1, 0), value=half.config.decoder_start_token_id)
                wanted = half(**turned, decoder_input_ids=ids[:, :-1]).logits
                best = wanted.max(dim=-1).values - wanted.gather(-1, ids[:, 1:, None])[..., 0]
                assert best.max() < 0.05 * wanted.abs().max(), best
    assert compiled.without_graphs is None


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
