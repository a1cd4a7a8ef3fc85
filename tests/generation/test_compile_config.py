"""`generate` with a CompileConfig that names this backend: steps are compiled once, whatever the prompt."""

from __future__ import annotations

import pytest
import torch
import transformers as tf
from torch._dynamo.utils import counters

from .models import decoder
from .test_decoders import GREEDY, tokens


@pytest.mark.model
def test_prompts_of_other_lengths_compile_nothing_new() -> None:
    model = decoder("llama")
    config = tf.CompileConfig(
        backend="trt_passes", mode=None, fullgraph=True, options={"min_block_size": 1, "executor": "reference"}
    )
    config._compile_all_devices = True  # transformers compiles on GPUs only, unless a test says so
    torch._dynamo.reset()
    counters.clear()
    for length in (8, 5):
        ids = tokens(1, length)
        options = {"cache_implementation": "static", "max_cache_len": 64, "compile_config": config}
        got = model.generate(ids, max_new_tokens=6, **options, **GREEDY)
        assert torch.equal(got, model.generate(ids, max_new_tokens=6, **GREEDY))
    assert counters["stats"]["unique_graphs"] == 1
