"""Models with an encoder generate what they generate in eager mode, token for token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from trt_passes.transformers import compile_for_generation

from ..marks import some_long
from .models import ENCODER_DECODERS, VOCABULARY, decoder, encoder_decoder

LENGTH = 12


def sources(model: Any, length: int) -> dict[str, torch.Tensor]:
    """Two sources: texts of which the first is shorter, or sounds."""
    generator = torch.Generator().manual_seed(length)
    if model.main_input_name == "input_features":
        shape = (2, model.config.num_mel_bins, 2 * model.config.max_source_positions)
        return {"input_features": torch.randn(shape, generator=generator)}
    ids = torch.randint(3, VOCABULARY, (2, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, length // 2 + 1 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.model
@pytest.mark.parametrize("name", some_long(ENCODER_DECODERS, short=("whisper",)))
def test_the_same_tokens_as_eager(name: str, tmp_path: Path) -> None:
    model = encoder_decoder(name)
    more = {} if name == "whisper" else {"max_source_len": LENGTH}
    compiled = compile_for_generation(
        model, max_cache_len=30, batch=4, prefill=8, executor="reference", min_block_size=1, **more
    )
    for program in compiled.programs.values():
        assert (len(program.report.segments), program.report.coverage) == (1, 1.0)
    assert compiled.plan.layout.in_place
    for length in (1, 7, LENGTH) if more else (LENGTH,):
        given = sources(model, length)
        for options in ({}, {"num_beams": 2}) if length == LENGTH else ({},):
            expected, got = (
                item.generate(**given, do_sample=False, max_new_tokens=20, **options) for item in (model, compiled)
            )
            assert torch.equal(got, expected), (length, options)
    if more:
        with pytest.raises(tp.UserError, match=r"13 tokens.*up to 12: compile it with a larger max_source_len"):
            compiled.generate(**sources(model, LENGTH + 1))
    tp.save(compiled, tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2", executor="pytorch")
    expected, got = (item.generate(**given, do_sample=False, max_new_tokens=20) for item in (model, loaded))
    assert torch.equal(got, expected)


def test_mistakes() -> None:
    with pytest.raises(tp.UserError, match="max_source_len is for models with an encoder of tokens"):
        compile_for_generation(decoder("llama"), max_cache_len=8, max_source_len=4)
