"""ViT-B/16 (transformers, random weights): images -> logits.

trt-passes run examples/vit.py:model --dump-dir dump
trt-passes run examples/vit.py:dynamic --set enabled_precisions=float16 --dump-dir dump
"""

from __future__ import annotations

from typing import Any

import torch
import trt_passes as tp
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "image_size": 32,
    "patch_size": 8,
}


class Logits(nn.Module):
    """The logits of a model, without the dictionary around them: images f32[B,3,H,W] -> f32[B,classes]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).logits


def build(**sizes: Any) -> nn.Module:
    """The classifier in eval mode; `sizes` replace those of ViT-B/16."""
    torch.manual_seed(0)
    config = ViTConfig(num_labels=10, attn_implementation="sdpa", **sizes)
    return Logits(ViTForImageClassification(config)).eval()


def model() -> tuple[nn.Module, tuple[tp.Input, ...]]:
    """ViT-B/16 for one image of 224x224."""
    return build(), (tp.Input((1, 3, 224, 224)),)


def dynamic() -> tuple[nn.Module, tuple[tp.Input, ...]]:
    """ViT-B/16 for 1 to 32 images."""
    shape = (3, 224, 224)
    return build(), (tp.Input(min_shape=(1, *shape), opt_shape=(8, *shape), max_shape=(32, *shape)),)


def small() -> tuple[nn.Module, tuple[tp.Input, ...]]:
    """Two narrow layers, for 2 images of 32x32."""
    return build(**SMALL), (tp.Input((2, 3, 32, 32)),)


def small_dynamic() -> tuple[nn.Module, tuple[tp.Input, ...]]:
    """`small` for 1 to 4 images."""
    return build(**SMALL), (tp.Input(min_shape=(1, 3, 32, 32), opt_shape=(2, 3, 32, 32), max_shape=(4, 3, 32, 32)),)
