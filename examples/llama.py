"""A Llama of four layers (transformers, random weights): grouped-query attention, rotary positions, RMS norm.

trt-passes run examples/llama.py:model --dump-dir dump
trt-passes run examples/llama.py:dynamic --set enabled_precisions=float16 --dump-dir dump
"""

from __future__ import annotations

from typing import Any

import torch
import trt_passes as tp
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = {
    "num_hidden_layers": 4,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "intermediate_size": 2816,
    "vocab_size": 8192,
}
SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
}


class Logits(nn.Module):
    """The logits of a model, without the dictionary around them: ids i64[B,S] -> f32[B,S,vocabulary]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids).logits


def build(sizes: dict[str, Any]) -> nn.Module:
    """The model in eval mode, without key-value cache."""
    torch.manual_seed(0)
    config = LlamaConfig(use_cache=False, attn_implementation="sdpa", **sizes)
    return Logits(LlamaForCausalLM(config)).eval()


def tokens(vocabulary: int, batch: int, length: int) -> dict[str, torch.Tensor]:
    """Random token ids i64[batch,length]."""
    generator = torch.Generator().manual_seed(0)
    return {"input_ids": torch.randint(0, vocabulary, (batch, length), generator=generator)}


def model() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Four layers, for 2 texts of 128 tokens."""
    return build(SIZES), tokens(SIZES["vocab_size"], 2, 128)


def dynamic() -> tuple[nn.Module, dict[str, tp.Input]]:
    """Four layers, for 1 to 8 texts of 8 to 512 tokens."""
    ids = tp.Input(min_shape=(1, 8), opt_shape=(2, 128), max_shape=(8, 512), dtype=torch.int64)
    return build(SIZES), {"input_ids": ids}


def small() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Two narrow layers, for 2 texts of 16 tokens."""
    return build(SMALL), tokens(SMALL["vocab_size"], 2, 16)


def small_dynamic() -> tuple[nn.Module, dict[str, tp.Input]]:
    """`small` for 1 to 4 texts of 4 to 64 tokens."""
    ids = tp.Input(min_shape=(1, 4), opt_shape=(2, 16), max_shape=(4, 64), dtype=torch.int64)
    return build(SMALL), {"input_ids": ids}
