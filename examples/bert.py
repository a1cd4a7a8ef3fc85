"""BERT-base as an encoder (transformers, random weights): token ids and mask -> hidden states and pooled state.

trt-passes run examples/bert.py:model --dump-dir dump
trt-passes run examples/bert.py:dynamic --set enabled_precisions=float16 --dump-dir dump
"""

from __future__ import annotations

from typing import Any

import torch
import trt_passes as tp
from torch import nn
from transformers import BertConfig, BertModel

SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 100,
}


def build(**sizes: Any) -> nn.Module:
    """The encoder in eval mode; `sizes` replace those of BERT-base."""
    torch.manual_seed(0)
    return BertModel(BertConfig(return_dict=False, attn_implementation="sdpa", **sizes)).eval()


def tokens(vocabulary: int, batch: int, length: int) -> dict[str, torch.Tensor]:
    """Random token ids i64[batch,length], and a mask that leaves out the last two tokens of the last text."""
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[-1, -2:] = 0
    ids = torch.randint(0, vocabulary, (batch, length), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": mask}


def ranged(**shapes: tuple[int, int]) -> dict[str, tp.Input]:
    """The same inputs for a range of shapes."""
    return {name: tp.Input(**shapes, dtype=torch.int64) for name in ("input_ids", "attention_mask")}


def model() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """BERT-base for 2 texts of 128 tokens."""
    return build(), tokens(30522, 2, 128)


def dynamic() -> tuple[nn.Module, dict[str, tp.Input]]:
    """BERT-base for 1 to 8 texts of 8 to 512 tokens."""
    return build(), ranged(min_shape=(1, 8), opt_shape=(2, 128), max_shape=(8, 512))


def small() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Two narrow layers, for 2 texts of 16 tokens."""
    return build(**SMALL), tokens(100, 2, 16)


def small_dynamic() -> tuple[nn.Module, dict[str, tp.Input]]:
    """`small` for 1 to 4 texts of 4 to 64 tokens."""
    return build(**SMALL), ranged(min_shape=(1, 4), opt_shape=(2, 16), max_shape=(4, 64))
