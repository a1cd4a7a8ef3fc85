"""Small language models of every kind, with random weights that make their answers vary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import transformers as tf

from benchmarks.generation import BASE, EXPERTS, VOCABULARY

_GEMMA = {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16}


def _gpt2() -> Any:
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
    return tf.GPT2Config(vocab_size=VOCABULARY, initializer_range=0.3, bos_token_id=1, eos_token_id=None, **sizes)


def _bloom() -> Any:
    sizes = {"hidden_size": 64, "n_layer": 2, "n_head": 4}
    return tf.BloomConfig(vocab_size=VOCABULARY, initializer_range=0.3, bos_token_id=1, eos_token_id=None, **sizes)


def _falcon() -> Any:
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return tf.FalconConfig(vocab_size=VOCABULARY, initializer_range=0.3, bos_token_id=1, eos_token_id=None, **sizes)


def _deepseek() -> Any:
    sizes = {**BASE, **EXPERTS, "num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 2, "topk_group": 1}
    heads = {"q_lora_rank": 24, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16}
    return tf.DeepseekV3Config(**sizes, **heads, first_k_dense_replace=1)


DECODERS: Mapping[str, Callable[[], Any]] = MappingProxyType(
    {
        "gpt2": _gpt2,
        "llama": lambda: tf.LlamaConfig(**BASE),
        "mistral": lambda: tf.MistralConfig(**BASE, sliding_window=8),
        "qwen3": lambda: tf.Qwen3Config(**BASE, head_dim=16),
        "gemma2": lambda: tf.Gemma2Config(**{**BASE, "bos_token_id": 2}, **_GEMMA),
        "gemma3": lambda: tf.Gemma3TextConfig(**{**BASE, "bos_token_id": 2}, **_GEMMA),
        "phi3": lambda: tf.Phi3Config(**BASE),
        "olmo2": lambda: tf.Olmo2Config(**BASE),
        "falcon": _falcon,
        "bloom": _bloom,
        "mixtral": lambda: tf.MixtralConfig(**BASE, num_local_experts=4),
        "qwen3-moe": lambda: tf.Qwen3MoeConfig(**BASE, **EXPERTS, head_dim=16, num_experts=8),
        "deepseek-v3": _deepseek,
    }
)


def decoder(name: str, **changed: Any) -> Any:
    """A decoder-only model in eval mode; `changed` of its configuration."""
    torch.manual_seed(0)
    config = DECODERS[name]()
    if changed:
        config = type(config)(**{**config.to_diff_dict(), **changed})
    return tf.AutoModelForCausalLM.from_config(config).eval()


def _t5() -> Any:
    sizes = {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4, "initializer_factor": 3.0}
    return tf.T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, eos_token_id=None, pad_token_id=0, **sizes)


def _bart() -> Any:
    sizes = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 64}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = tf.BartConfig(vocab_size=VOCABULARY, init_std=0.3, **sizes, **heads, **special)
    config.forced_eos_token_id = None
    return config


def _whisper() -> Any:
    sizes = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_mel_bins": 16}
    lengths = {"max_source_positions": 20, "max_target_positions": 64}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    rules = {"suppress_tokens": None, "begin_suppress_tokens": None}
    return tf.WhisperConfig(vocab_size=VOCABULARY, init_std=0.3, **sizes, **heads, **lengths, **special, **rules)


ENCODER_DECODERS: Mapping[str, Callable[[], Any]] = MappingProxyType({"t5": _t5, "bart": _bart, "whisper": _whisper})


def encoder_decoder(name: str) -> Any:
    """A model with an encoder, in eval mode."""
    torch.manual_seed(0)
    config = ENCODER_DECODERS[name]()
    classes = {"t5": tf.T5ForConditionalGeneration, "bart": tf.BartForConditionalGeneration}
    return classes.get(name, tf.WhisperForConditionalGeneration)(config).eval()


def llava() -> Any:
    """A model of images and text, in eval mode: images of 16 x 16 are 4 tokens 99."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = tf.CLIPVisionConfig(**sizes, image_size=16, patch_size=8, projection_dim=32)
    text = tf.LlamaConfig(**BASE)
    config = tf.LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=VOCABULARY - 1,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
    )
    return tf.LlavaForConditionalGeneration(config).eval()
