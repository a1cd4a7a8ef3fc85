"""Small models by rule: what must fit together does, and inputs that a model misses are found by their names."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("transformers", reason="the sweep is over its models")

from sweep_configs import small
from sweep_inputs import with_missing
from sweep_models import model_classes


def test_sections_heads_and_widths_fit() -> None:
    config = small("qwen2_vl", 16, is_completed=True).text_config
    head_dim = config.hidden_size // config.num_attention_heads
    assert sum(config.rope_parameters["mrope_section"]) == head_dim // 2
    assert small("mixtral", 16).num_local_experts == 4


def test_missing_inputs_by_name() -> None:
    ids, config = torch.zeros(2, 12, dtype=torch.int64), SimpleNamespace(vocab_size=320)
    error = TypeError("forward() missing 2 required positional arguments: 'qformer_input_ids' and 'text_mask'")
    found = with_missing(error, {"input_ids": ids}, config)
    assert found is not None
    assert set(found) == {"input_ids", "qformer_input_ids", "text_mask"}
    assert found["text_mask"].shape == ids.shape
    assert with_missing(TypeError("forward() missing 1 required: 'session'"), {"input_ids": ids}, config) is None
    assert with_missing(ValueError("missing 'text_mask'"), {"input_ids": ids}, config) is None


def test_every_kind_of_the_mappings_has_a_class() -> None:
    classes = model_classes()
    assert len(classes) > 400
    assert classes["bert"] == "BertModel"
