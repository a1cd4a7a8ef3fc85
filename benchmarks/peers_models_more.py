"""Twelve more models of benchmarks/peers.py: full sizes, random weights, results of one tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn

Made = tuple[nn.Module, tuple[torch.Tensor, ...]]


class First(nn.Module):
    """A model of transformers or diffusers called by position, whose result is its first output."""

    def __init__(self, model: nn.Module, *names: str) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=False)[0]


class Named(nn.Module):
    """A model of transformers called by position, whose result is one of its named outputs."""

    def __init__(self, model: nn.Module, output: str, *names: str) -> None:
        super().__init__()
        self.model, self.output, self.names = model, output, names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = getattr(self.model(**dict(zip(self.names, inputs, strict=True))), self.output)
        return found


def images(batch: int, size: int = 224) -> tuple[torch.Tensor]:
    """Random images."""
    return (torch.randn(batch, 3, size, size),)


class Decoder(nn.Module):
    """What makes images of latents in an autoencoder of diffusers."""

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = autoencoder.post_quant_conv, autoencoder.decoder

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.decoder(self.post_quant_conv(latents))
        return found


def _t5() -> Made:
    from transformers import T5Config, T5EncoderModel

    # The sizes of T5-base.
    config = T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12)
    return First(T5EncoderModel(config), "input_ids"), (torch.randint(0, 32128, (4, 256)),)


def _qwen3() -> Made:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    # The sizes of Qwen3-0.6B.
    config = Qwen3Config(
        vocab_size=151936,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
        use_cache=False,
        attn_implementation="sdpa",
    )
    return First(Qwen3ForCausalLM(config), "input_ids"), (torch.randint(0, 151936, (1, 512)),)


def _segformer() -> Made:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    # The sizes of SegFormer-B2 for ADE20K.
    config = SegformerConfig(depths=[3, 4, 6, 3], hidden_sizes=[64, 128, 320, 512], decoder_hidden_size=768)
    config.num_labels = 150
    return Named(SegformerForSemanticSegmentation(config), "logits", "pixel_values"), images(4, 512)


def _dinov2() -> Made:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(image_size=518, attn_implementation="sdpa")
    return Named(Dinov2Model(config), "last_hidden_state", "pixel_values"), images(8)


def _rt_detr() -> Made:
    from transformers import RTDetrConfig, RTDetrForObjectDetection

    return Named(RTDetrForObjectDetection(RTDetrConfig(num_labels=80)), "logits", "pixel_values"), images(1, 640)


def _wav2vec2() -> Made:
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    config = Wav2Vec2Config(attn_implementation="sdpa")
    return Named(Wav2Vec2ForCTC(config), "logits", "input_values"), (torch.randn(1, 80_000),)


def _vae() -> Made:
    from diffusers import AutoencoderKL

    # The sizes of Stable Diffusion 1.5.
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    return Decoder(model), (torch.randn(1, 4, 64, 64),)


def _dit() -> Made:
    from diffusers import DiTTransformer2DModel

    # The sizes of DiT-XL/2 for images of 256 x 256 pixels.
    model = DiTTransformer2DModel(
        num_attention_heads=16, attention_head_dim=72, in_channels=4, out_channels=8, num_layers=28, sample_size=32
    )
    inputs = (torch.randn(2, 4, 32, 32), torch.tensor([981, 981]), torch.tensor([207, 360]))
    return First(model, "hidden_states", "timestep", "class_labels"), inputs


def _mask2former() -> Made:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    # Its default backbone is Swin-T.
    model = Mask2FormerForUniversalSegmentation(Mask2FormerConfig())
    return Named(model, "masks_queries_logits", "pixel_values"), images(1, 512)


def _timm(name: str, batch: int) -> Made:
    import timm

    return timm.create_model(name), images(batch)


MORE: Mapping[str, Callable[[], Made]] = MappingProxyType(
    {
        "t5-encoder-4x256": _t5,
        "qwen3-0.6b-1x512": _qwen3,
        "segformer-b2-4x512": _segformer,
        "dinov2-b-b8": _dinov2,
        "rt-detr-640": _rt_detr,
        "wav2vec2-80000": _wav2vec2,
        "sd15-vae-decoder": _vae,
        "dit-xl2-b2": _dit,
        "regnety-032-b16": lambda: _timm("regnety_032", 16),
        "maxvit-tiny-b8": lambda: _timm("maxvit_tiny_rw_224", 8),
        "convnextv2-nano-b8": lambda: _timm("convnextv2_nano", 8),
        "mask2former-512": _mask2former,
    }
)
