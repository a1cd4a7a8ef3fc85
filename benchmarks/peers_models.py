"""The models of benchmarks/peers.py: full sizes, random weights, float16 inputs on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType

import torch
from peers_models_more import MORE, First, Made, images
from torch import nn


def _torchvision(name: str, batch: int) -> Made:
    import torchvision

    model = getattr(torchvision.models, name)(weights=None)
    if name.startswith("vit"):
        # torchvision starts the head at zero, and a result of zeros has no relative error.
        nn.init.trunc_normal_(model.heads.head.weight, std=0.02)
    return model, images(batch)


def _bert(batch: int, length: int) -> Made:
    from transformers import BertConfig, BertModel

    mask = torch.ones(batch, length, dtype=torch.int64)
    model = First(BertModel(BertConfig(attn_implementation="sdpa")), "input_ids", "attention_mask")
    return model, (torch.randint(0, 30522, (batch, length)), mask)


def _gpt2() -> Made:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(use_cache=False, attn_implementation="sdpa")
    return First(GPT2LMHeadModel(config), "input_ids"), (torch.randint(0, 50257, (1, 256)),)


def _llama() -> Made:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        use_cache=False,
        attn_implementation="sdpa",
    )
    return First(LlamaForCausalLM(config), "input_ids"), (torch.randint(0, 128256, (1, 512)),)


def _whisper() -> Made:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        d_model=768, encoder_layers=12, encoder_attention_heads=12, encoder_ffn_dim=3072, attn_implementation="sdpa"
    )
    return First(WhisperEncoder(config), "input_features"), (torch.randn(1, 80, 3000),)


def _unet() -> Made:
    from diffusers import UNet2DConditionModel

    # The sizes of Stable Diffusion 1.5.
    model = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    inputs = (torch.randn(2, 4, 64, 64), torch.tensor([981, 981]), torch.randn(2, 77, 768))
    return First(model, "sample", "timestep", "encoder_hidden_states"), inputs


MODELS: Mapping[str, Callable[[], Made]] = MappingProxyType(
    {
        "resnet50-b1": lambda: _torchvision("resnet50", 1),
        "resnet50-b32": lambda: _torchvision("resnet50", 32),
        "mobilenetv3-b8": lambda: _torchvision("mobilenet_v3_large", 8),
        "efficientnet-b0-b8": lambda: _torchvision("efficientnet_b0", 8),
        "convnext-t-b8": lambda: _torchvision("convnext_tiny", 8),
        "vit-b16-b8": lambda: _torchvision("vit_b_16", 8),
        "swin-t-b8": lambda: _torchvision("swin_t", 8),
        "bert-1x128": lambda: _bert(1, 128),
        "bert-8x384": lambda: _bert(8, 384),
        "gpt2-1x256": _gpt2,
        "llama-1b-1x512": _llama,
        "whisper-small-encoder": _whisper,
        "sd15-unet-b2": _unet,
    }
)


ALL: Mapping[str, Callable[[], Made]] = MappingProxyType({**MODELS, **MORE})


@torch.no_grad()
def fill_zeros(model: nn.Module) -> None:
    """Give parameters that start as zeros, which are mostly biases, values: compilers drop zeros, which are in no
    trained model."""
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)


@torch.no_grad()
def measure_statistics(model: nn.Module, *inputs: torch.Tensor) -> None:
    """Give batch norms the statistics of the inputs: with those that they start with, the signal of a deep network of
    random weights vanishes in half precision."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if norms:
        for norm in norms:
            norm.momentum = None
        model.train()(*inputs)


def made(name: str) -> Made:
    """A model in eval mode in float32 on the GPU with seeded weights, and its inputs."""
    torch.manual_seed(0)
    with torch.device("cuda"):
        model, inputs = ALL[name]()
    model, inputs = model.cuda(), tuple(tensor.cuda() for tensor in inputs)
    fill_zeros(model)
    measure_statistics(model, *inputs)
    return model.eval(), inputs


def import_library(name: str) -> None:
    """Import what a model is made of, by making it without memory."""
    with suppress(RuntimeError), torch.device("meta"):
        ALL[name]()


def halved(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The inputs with floating-point ones in float16."""
    return tuple(tensor.half() if tensor.is_floating_point() else tensor for tensor in inputs)
