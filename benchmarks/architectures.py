"""Real architectures with random weights and small sizes: what `benchmarks/models.py` and the tests compile.

Every factory returns a module in eval mode and its example inputs by keyword; the structure is that of the released
model (depth of two or more blocks, all kinds of blocks present), only widths, depths and vocabularies are small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

Inputs = Mapping[str, torch.Tensor]
Made = tuple[nn.Module, Inputs]

VOCABULARY, HIDDEN, LENGTH, BATCH = 512, 64, 24, 2
LENGTHS = MappingProxyType({"input_ids": (8, 48), "attention_mask": (8, 48), "decoder_input_ids": (4, 40)})


@dataclass(frozen=True)
class Architecture:
    """One row of the table: how to make the model, and how it is shown."""

    name: str
    family: str
    make: Callable[[], Made]
    fixed_length: str | None = None
    """Why only the batch varies, not the length of the text; None if the length varies too."""

    def built(self) -> Made:
        """The module with seeded weights, and its inputs."""
        torch.manual_seed(0)
        module, inputs = self.make()
        spread_weights(module)
        return module.eval(), inputs

    def ranges(self) -> dict[str, Any]:
        """The inputs as `tp.Input`, by name: batches of 1 to 4, texts of 8 to 48 tokens (decoded ones 4 to 40)."""
        import trt_passes as tp

        found = {}
        for name, tensor in self.make()[1].items():
            low, high = list(tensor.shape), list(tensor.shape)
            low[0], high[0] = 1, 4
            if name in LENGTHS and self.fixed_length is None:
                low[1], high[1] = LENGTHS[name]
            found[name] = tp.Input(min_shape=low, opt_shape=tensor.shape, max_shape=high, dtype=tensor.dtype)
        return found


def spread_weights(module: nn.Module) -> None:
    """Give weights a variance of 1 / fan-in, and biases some spread.

    With the usual initialisation, made for training, signals fade until outputs hardly depend on inputs: a wrong
    attention would not be noticed.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1)


def resized(inputs: Inputs, ranges: Mapping[str, Any], corner: str) -> dict[str, torch.Tensor]:
    """The inputs repeated or cut to the sizes of a corner of their ranges: "min_shape" or "max_shape"."""
    found = {}
    for name, tensor in inputs.items():
        for dim, size in enumerate(getattr(ranges[name], corner)):
            tensor = tensor.index_select(dim, torch.arange(size) % tensor.shape[dim])
        found[name] = tensor
    return found


class Output(nn.Module):
    """A model whose output is some fields of what it returns, as a tuple: no caches, no losses."""

    def __init__(self, model: nn.Module, *fields: str, **fixed: Any) -> None:
        super().__init__()
        self.model, self.fields, self.fixed = model, fields, fixed

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = self.model(**inputs, **self.fixed)
        return tuple(getattr(result, field) for field in self.fields)


def _tokens(length: int = LENGTH) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (BATCH, length), generator=torch.Generator().manual_seed(1))


def _mask(length: int = LENGTH) -> torch.Tensor:
    """A padding mask whose last sequence is shorter."""
    mask = torch.ones(BATCH, length, dtype=torch.int64)
    mask[-1, -5:] = 0
    return mask


def _text() -> dict[str, torch.Tensor]:
    return {"input_ids": _tokens(), "attention_mask": _mask()}


def _image(size: int, batch: int = BATCH) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))}


def _encoder_sizes() -> dict[str, int]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": 64,
    }


def _decoder_sizes() -> dict[str, Any]:
    return {**_encoder_sizes(), "num_key_value_heads": 2, "use_cache": False}


def bert() -> Made:
    """BERT with a masked-language-model head."""
    from transformers import BertConfig, BertForMaskedLM

    return Output(BertForMaskedLM(BertConfig(**_encoder_sizes())), "logits"), _text()


def distilbert() -> Made:
    """DistilBERT for sequence classification."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    sizes = {"vocab_size": VOCABULARY, "dim": HIDDEN, "n_layers": 2, "n_heads": 4, "hidden_dim": 128}
    return Output(DistilBertForSequenceClassification(DistilBertConfig(**sizes)), "logits"), _text()


def roberta() -> Made:
    """RoBERTa for token classification; positions come from a cumulative sum over the tokens."""
    from transformers import RobertaConfig, RobertaForTokenClassification

    return Output(RobertaForTokenClassification(RobertaConfig(**_encoder_sizes())), "logits"), _text()


def albert() -> Made:
    """ALBERT: one layer, shared by all."""
    from transformers import AlbertConfig, AlbertModel

    model = AlbertModel(AlbertConfig(**_encoder_sizes(), embedding_size=32))
    return Output(model, "last_hidden_state", "pooler_output"), _text()


def gpt2() -> Made:
    """GPT-2 with its language-model head."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=VOCABULARY, n_embd=HIDDEN, n_layer=2, n_head=4, n_positions=64, use_cache=False)
    return Output(GPT2LMHeadModel(config), "logits"), _text()


def opt() -> Made:
    """OPT."""
    from transformers import OPTConfig, OPTForCausalLM

    sizes = _encoder_sizes()
    config = OPTConfig(**sizes, ffn_dim=sizes.pop("intermediate_size"), word_embed_proj_dim=HIDDEN, use_cache=False)
    return Output(OPTForCausalLM(config), "logits"), _text()


def llama() -> Made:
    """Llama with grouped-query attention."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return Output(LlamaForCausalLM(LlamaConfig(**_decoder_sizes())), "logits"), _text()


def mistral() -> Made:
    """Mistral with a sliding window shorter than the sequence."""
    from transformers import MistralConfig, MistralForCausalLM

    return Output(MistralForCausalLM(MistralConfig(**_decoder_sizes(), sliding_window=16)), "logits"), _text()


def qwen3() -> Made:
    """Qwen3: norms on queries and keys."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Output(Qwen3ForCausalLM(Qwen3Config(**_decoder_sizes(), head_dim=16)), "logits"), _text()


def gemma2() -> Made:
    """Gemma 2: soft-capped logits, alternating local and global attention."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(**_decoder_sizes(), head_dim=16, sliding_window=16)
    return Output(Gemma2ForCausalLM(config), "logits"), _text()


def mixtral() -> Made:
    """Mixtral: a router sends each token to two of four experts."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(**_decoder_sizes(), num_local_experts=4, num_experts_per_tok=2)
    return Output(MixtralForCausalLM(config), "logits"), _text()


def _t5_config() -> Any:
    from transformers import T5Config

    return T5Config(
        vocab_size=VOCABULARY, d_model=HIDDEN, d_kv=16, d_ff=128, num_layers=2, num_heads=4, use_cache=False
    )


def t5_encoder() -> Made:
    """T5's encoder: relative position buckets."""
    from transformers import T5EncoderModel

    return Output(T5EncoderModel(_t5_config()), "last_hidden_state"), _text()


def t5_decoder() -> Made:
    """T5 with encoder and decoder: causal and cross attention."""
    from transformers import T5ForConditionalGeneration

    return Output(T5ForConditionalGeneration(_t5_config()), "logits"), {**_text(), "decoder_input_ids": _tokens(12)}


def bart() -> Made:
    """BART with encoder, decoder and head."""
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        vocab_size=VOCABULARY,
        d_model=HIDDEN,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_position_embeddings=64,
        use_cache=False,
    )
    return Output(BartForConditionalGeneration(config), "logits"), {**_text(), "decoder_input_ids": _tokens(12)}


def whisper_encoder() -> Made:
    """Whisper's encoder on a short spectrogram."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        d_model=HIDDEN,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=128,
        num_mel_bins=16,
        max_source_positions=50,
    )
    spectrogram = torch.randn(BATCH, 16, 100, generator=torch.Generator().manual_seed(1))
    return Output(WhisperEncoder(config), "last_hidden_state"), {"input_features": spectrogram}


def wav2vec2() -> Made:
    """Wav2Vec2 for transcription: strided convolutions on the waveform, a weight-normed positional convolution."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    config = Wav2Vec2Config(
        vocab_size=32,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(32, 32, 32),
        conv_stride=(5, 2, 2),
        conv_kernel=(10, 3, 3),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    wave = torch.randn(BATCH, 1600, generator=torch.Generator().manual_seed(1))
    return Output(Wav2Vec2ForCTC(config), "logits"), {"input_values": wave}


def vit() -> Made:
    """Vision transformer for classification."""
    from transformers import ViTConfig, ViTForImageClassification

    sizes = _encoder_sizes()
    config = ViTConfig(
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=sizes["intermediate_size"],
        image_size=32,
        patch_size=8,
    )
    return Output(ViTForImageClassification(config), "logits"), _image(32)


def swin() -> Made:
    """Swin: shifted windows, patch merging."""
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(image_size=64, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4)
    return Output(SwinForImageClassification(config), "logits"), _image(64)


def convnext() -> Made:
    """ConvNeXt."""
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1], image_size=64)
    return Output(ConvNextForImageClassification(config), "logits"), _image(64)


def resnet() -> Made:
    """ResNet with bottleneck blocks."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=16, hidden_sizes=[32, 64, 64, 96], depths=[2, 2, 2, 2])
    return Output(ResNetForImageClassification(config), "logits"), _image(64)


def mobilenet_v2() -> Made:
    """MobileNetV2: depthwise convolutions."""
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    return Output(MobileNetV2ForImageClassification(MobileNetV2Config(image_size=64)), "logits"), _image(64)


def segformer() -> Made:
    """SegFormer for segmentation: sequence-reducing attention, a decoder that resizes and joins four scales."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        depths=[1, 1, 2, 1], hidden_sizes=[16, 32, 40, 64], num_attention_heads=[1, 2, 4, 8], decoder_hidden_size=32
    )
    return Output(SegformerForSemanticSegmentation(config), "logits"), _image(64)


def detr() -> Made:
    """DETR: a ResNet, an encoder, and a decoder with object queries."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], out_features=["stage4"]
    )
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=HIDDEN,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        num_queries=10,
    )
    return Output(DetrForObjectDetection(config), "logits", "pred_boxes"), _image(64)


def clip() -> Made:
    """CLIP: both towers and the similarity of their embeddings."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    tower = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    config = CLIPConfig(
        text_config=CLIPTextConfig(**tower, vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=2).to_dict(),
        vision_config=CLIPVisionConfig(**tower, image_size=32, patch_size=8).to_dict(),
        projection_dim=32,
    )
    return Output(CLIPModel(config), "logits_per_image", "logits_per_text"), {**_text(), **_image(32)}


def dinov2() -> Made:
    """DINOv2 on images of another size than its position embeddings: they are interpolated (bicubic)."""
    from transformers import Dinov2Config, Dinov2ForImageClassification

    config = Dinov2Config(hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=4, image_size=56, patch_size=14)
    return Output(Dinov2ForImageClassification(config), "logits"), _image(84)


def mamba() -> Made:
    """Mamba: a causal convolution and a selective scan over the sequence."""
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=HIDDEN, state_size=8, num_hidden_layers=2, use_cache=False)
    return Output(MambaForCausalLM(config), "logits"), {"input_ids": _tokens(16)}


def unet() -> Made:
    """Stable Diffusion's denoiser: residual blocks with time embeddings, self and cross attention, skips."""
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    generator = torch.Generator().manual_seed(1)
    return Output(model, "sample"), {
        "sample": torch.randn(BATCH, 4, 16, 16, generator=generator),
        "timestep": torch.tensor([10, 500]),
        "encoder_hidden_states": torch.randn(BATCH, 8, 32, generator=generator),
    }


class VaeDecoder(nn.Module):
    """The half of the autoencoder that makes pictures: z f32[B,4,H,W] -> f32[B,3,2H,2W]."""

    def __init__(self) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        self.vae = AutoencoderKL(
            block_out_channels=(16, 32),
            norm_num_groups=8,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.vae.decode(z, return_dict=False)[0]


def vae_decoder() -> Made:
    """Stable Diffusion's picture decoder."""
    return VaeDecoder(), {"z": torch.randn(BATCH, 4, 16, 16, generator=torch.Generator().manual_seed(1))}


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        row.name: row
        for row in (
            Architecture("BERT", "text encoder", bert),
            Architecture("DistilBERT", "text encoder", distilbert),
            Architecture("RoBERTa", "text encoder", roberta),
            Architecture("ALBERT", "text encoder", albert),
            Architecture("GPT-2", "text decoder", gpt2),
            Architecture("OPT", "text decoder", opt),
            Architecture("Llama", "text decoder", llama),
            Architecture("Mistral", "text decoder", mistral),
            Architecture("Qwen3", "text decoder", qwen3),
            Architecture("Gemma 2", "text decoder", gemma2),
            Architecture("Mixtral", "mixture of experts", mixtral),
            Architecture("T5 encoder", "text encoder", t5_encoder),
            Architecture("T5 decoder", "text to text", t5_decoder),
            Architecture("BART", "text to text", bart),
            Architecture("Whisper encoder", "audio", whisper_encoder),
            Architecture("Wav2Vec2", "audio", wav2vec2),
            Architecture("ViT", "image", vit),
            Architecture("Swin", "image", swin),
            Architecture("ConvNeXt", "image", convnext),
            Architecture("ResNet", "image", resnet),
            Architecture("MobileNetV2", "image", mobilenet_v2),
            Architecture("SegFormer", "segmentation", segformer),
            Architecture("DETR", "detection", detr),
            Architecture("CLIP", "image and text", clip),
            Architecture("DINOv2", "image", dinov2),
            Architecture("Mamba", "state space", mamba, fixed_length="its scan is unrolled over the tokens"),
            Architecture("UNet2DConditionModel", "diffusion", unet),
            Architecture("AutoencoderKL decoder", "diffusion", vae_decoder),
        )
    }
)
