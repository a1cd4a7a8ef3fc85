"""What a compiled language model generates is what it generates in eager mode, token for token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
import trt_passes as tp
from trt_passes.transformers import compile_for_generation

from ..marks import some_long
from .models import DECODERS, VOCABULARY, decoder

GREEDY = {"do_sample": False, "pad_token_id": 0}


def tokens(batch: int, length: int) -> torch.Tensor:
    """Random prompts i64[batch,length]."""
    return torch.randint(3, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(length))


def padded() -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts of 6, 3 and 5 tokens, padded on the left, with their mask."""
    ids, mask = tokens(3, 6), torch.ones(3, 6, dtype=torch.int64)
    for row, count in ((1, 3), (2, 1)):
        ids[row, :count], mask[row, :count] = 0, 0
    return ids, mask


def check(model: Any, compiled: Any, new: int, *, whole: bool = True) -> None:
    """Compare greedy answers to prompts of one token and of more than one step, and to padded ones."""
    for length in (1, 20) if whole else (9,):
        ids = tokens(1, length)
        expected, got = (item.generate(ids, max_new_tokens=new, **GREEDY) for item in (model, compiled))
        assert torch.equal(got, expected), length
    ids, mask = padded()
    expected, got = (
        item.generate(ids, attention_mask=mask, max_new_tokens=new, **GREEDY) for item in (model, compiled)
    )
    assert torch.equal(got, expected)


@pytest.mark.model
@pytest.mark.parametrize("name", some_long(DECODERS, short=()))
def test_the_same_tokens_as_eager(name: str, tmp_path: Path) -> None:
    model = decoder(name)
    # Sequences of one take an engine of their own, where there is one.
    options: dict[str, Any] = {"executor": "reference", "min_block_size": 1, "token_engine": name != "llama"}
    compiled = compile_for_generation(model, max_cache_len=88, batch=3, prefill=16, **options)
    report = compiled.programs["step"].report
    assert (len(report.segments), report.coverage) == (1, 1.0)
    assert compiled.plan.layout.in_place
    check(model, compiled, 32)
    tp.save(compiled, tmp_path / "model.pt2")
    check(model, tp.load(tmp_path / "model.pt2", executor="pytorch"), 16, whole=False)


def test_windows_that_are_counted_from_the_end_of_the_cache() -> None:
    sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]}
    config = tf.GPTNeoConfig(vocab_size=VOCABULARY, max_position_embeddings=128, window_size=8, **sizes)
    model = tf.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(tp.UserError, match="max_cache_len=8 or less"):
        compile_for_generation(model, max_cache_len=16, executor="pytorch")
    compiled = compile_for_generation(model, max_cache_len=8, executor="pytorch")
    ids = torch.randint(0, VOCABULARY, (1, 3))
    assert torch.equal(*(item.generate(ids, max_new_tokens=5, do_sample=False) for item in (compiled, model)))
