"""A model of images and text says what it says in eager mode, token for token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import trt_passes as tp
from trt_passes.transformers import compile_for_generation

from .models import VOCABULARY, llava
from .test_decoders import GREEDY


@pytest.mark.long
@pytest.mark.model
def test_the_same_tokens_as_eager(tmp_path: Path) -> None:
    model = llava()
    compiled = compile_for_generation(
        model, max_cache_len=40, batch=2, prefill=8, executor="reference", min_block_size=1
    )
    for program in compiled.programs.values():
        assert (len(program.report.segments), program.report.coverage) == (1, 1.0)
    assert compiled.plan.layout.in_place
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, VOCABULARY - 1, (2, 11), generator=generator)
    ids[:, 2:6] = VOCABULARY - 1
    pixels = torch.randn(2, 3, 16, 16, generator=generator)
    options = {**GREEDY, "max_new_tokens": 16}
    expected = model.generate(ids, pixel_values=pixels, **options)
    assert torch.equal(compiled.generate(ids, pixel_values=pixels, **options), expected)
    assert not torch.equal(model.generate(ids, pixel_values=-pixels, **options), expected)
    text = ids[:1, 6:]
    assert torch.equal(compiled.generate(text, **options), model.generate(text, **options))
    with pytest.raises(tp.UserError, match="4 image tokens, and the images have 8 places"):
        compiled.generate(ids[:1], pixel_values=pixels, **options)
    with pytest.raises(tp.UserError, match=r"an image is \[3, 16, 16\]"):
        compiled.generate(ids, pixel_values=pixels[..., :8], **options)
    tp.save(compiled, tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2", executor="pytorch")
    assert torch.equal(loaded.generate(ids, pixel_values=pixels, **options), expected)
