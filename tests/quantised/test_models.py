"""Whole models in few bits, as their libraries quantise them: against what they compute in PyTorch, and how large."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.utils import _pytree as pytree

from .judged import plan_bytes

pytestmark = pytest.mark.long

transformers = pytest.importorskip("transformers", reason="transformers is in the extra 'test'")
SIZES = {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 1024}


def mlp() -> tuple[nn.Module, Any]:
    layers = (nn.Linear(512, 2048), nn.GELU(), nn.LayerNorm(2048), nn.Linear(2048, 512))
    return nn.Sequential(*layers), (torch.randn(8, 512),)


class Residual(nn.Module):
    """A stem, a residual block with batch norms and a head: [n, 3, 32, 32] -> [n, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one = nn.Conv2d(3, 64, 3, 2, 1), nn.Conv2d(64, 64, 3, 1, 1, bias=False)
        self.two, self.head = nn.Conv2d(64, 64, 3, 1, 1, bias=False), nn.Linear(64, 64)
        self.norms = nn.ModuleList(nn.BatchNorm2d(64) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.norms[1](self.two(torch.relu(self.norms[0](self.one(x))))))
        return self.head(x.mean((2, 3)))


def residual() -> tuple[nn.Module, Any]:
    return Residual(), (torch.randn(2, 3, 32, 32),)


def bert() -> tuple[nn.Module, Any]:
    model = transformers.BertModel(transformers.BertConfig(vocab_size=512, **SIZES))
    return model, {"input_ids": torch.randint(0, 512, (2, 16)), "attention_mask": torch.ones(2, 16).long()}


def llama() -> tuple[nn.Module, Any]:
    config = transformers.LlamaConfig(vocab_size=512, num_key_value_heads=2, use_cache=False, **SIZES)
    return transformers.LlamaForCausalLM(config), {"input_ids": torch.randint(0, 512, (2, 16))}


def vit() -> tuple[nn.Module, Any]:
    config = transformers.ViTConfig(image_size=32, patch_size=8, **SIZES)
    return transformers.ViTModel(config), (torch.randn(2, 3, 32, 32),)


def whisper() -> tuple[nn.Module, Any]:
    names = ("encoder_attention_heads", "decoder_attention_heads")
    config = transformers.WhisperConfig(
        d_model=256,
        encoder_layers=2,
        decoder_layers=1,
        encoder_ffn_dim=1024,
        decoder_ffn_dim=256,
        max_source_positions=50,
        vocab_size=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        **dict.fromkeys(names, 4),
    )
    return transformers.WhisperModel(config).encoder, (torch.randn(1, 80, 100),)


def unet() -> tuple[nn.Module, Any]:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    model = diffusers.UNet2DConditionModel(
        sample_size=16,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=64,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    return model, (torch.randn(1, 4, 16, 16), torch.tensor([10]), torch.randn(1, 8, 64))


MODELS = (mlp, residual, bert, llama, vit, whisper, unet)


def run(model: nn.Module, arguments: Any) -> list[torch.Tensor]:
    with torch.no_grad():
        found = model(**arguments) if isinstance(arguments, dict) else model(*arguments)
    leaves = pytree.tree_leaves(found.to_tuple() if hasattr(found, "to_tuple") else found)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


def compiled_for(model: nn.Module, arguments: Any, **options: Any) -> tp.CompiledModule:
    options = {"min_block_size": 1, "executor": "reference", **options}
    if isinstance(arguments, dict):
        return tp.compile(model, kwarg_inputs=arguments, **options)
    return tp.compile(model, list(arguments), **options)


def distance(found: list[torch.Tensor], right: list[torch.Tensor]) -> float:
    pairs = zip(found, right, strict=True)
    return max(float((one.float() - other.float()).norm() / other.float().norm()) for one, other in pairs)


def weights_only(model: nn.Module, bits: int) -> None:
    api = pytest.importorskip("torchao.quantization", reason="torchao is in the extra 'quantisation'")
    config = api.Int8WeightOnlyConfig()
    if bits == 4:
        config = api.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=api.PerGroup(32))
    wanted = lambda module, name: isinstance(module, nn.Linear) and module.in_features % 32 == 0  # noqa: E731
    api.quantize_(model, config, filter_fn=wanted)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("bits", [8, 4])
def test_weights_of_few_bits(make: Any, bits: int) -> None:
    torch.manual_seed(0)
    model, arguments = make()
    weights_only(model.eval(), bits)
    compiled = compiled_for(model, arguments)
    assert len(compiled.report.segments) == 1
    assert distance(run(compiled, arguments), run(model, arguments)) <= 1e-3


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["INT8_DEFAULT_CFG", "FP8_DEFAULT_CFG"])
def test_products_of_eight_bits(make: Any, name: str) -> None:
    mtq = pytest.importorskip("modelopt.torch.quantization", reason="nvidia-modelopt is not installed")
    torch.manual_seed(0)
    model, arguments = make()
    model = mtq.quantize(model.eval(), getattr(mtq, name), lambda each: run(each, arguments))
    compiled = compiled_for(model, arguments)
    assert len(compiled.report.segments) == 1
    # Rounding a difference of 1e-7 to the other side changes a result by some parts in a thousand.
    assert distance(run(compiled, arguments), run(model, arguments)) <= sensitivity(model, arguments)


def sensitivity(model: nn.Module, arguments: Any) -> float:
    """How much its results change if its float weights change by a millionth; 1e-3 at least."""
    before, right = {name: value.clone() for name, value in model.state_dict().items()}, run(model, arguments)
    worst = 1e-3
    with torch.no_grad():
        for factor in (1 + 1e-6, 1 - 1e-6):
            for value in model.parameters():
                value.mul_(factor)
            worst = max(worst, 2 * distance(run(model, arguments), right))
            model.load_state_dict(before)
    return worst


def test_sizes(tmp_path) -> None:
    """Of plans and files, beside those of halves: what is not in few bits is a small part of this model."""
    ratios = {}
    for bits in (16, 8, 4):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1024, 4096), nn.GELU(), nn.Linear(4096, 1024)).eval().half()
        if bits < 16:
            weights_only(model, bits)
        compiled = compiled_for(model, (torch.randn(8, 1024).half(),), quantised_weights="small")
        tp.save(compiled, tmp_path / f"{bits}.pt2")
        ratios[bits] = plan_bytes(compiled), (tmp_path / f"{bits}.pt2").stat().st_size
    for bits, plan, file in ((8, 0.6, 0.6), (4, 0.35, 0.45)):
        assert ratios[bits][0] <= plan * ratios[16][0]
        assert ratios[bits][1] <= file * ratios[16][1]
