"""LoRA adapters of different ranks on one engine."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

X = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
peft = pytest.importorskip("peft", reason="needs peft, of the extra `test`")


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Numbers of adapters are large here, and added up in another order where there are zeros among them."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).relu())


def adapted(rank: int, alpha: float = 8, modules: tuple[str, ...] = ("first", "second"), **options: Any) -> nn.Module:
    """The model with an adapter of random numbers."""
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(modules), **options)
    model: nn.Module = peft.get_peft_model(Model(), config).eval()
    torch.manual_seed(rank)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_()
    return model


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = peft.get_peft_model_state_dict(model)
    return found


def test_one_engine_runs_adapters_of_every_rank() -> None:
    model = adapted(4)
    before = model(X)
    tp.pad_adapters(model, 6)
    close(model(X), before)
    compiled = tp.compile(
        model.base_model.model, [X], mutable_weights={"*lora_*"}, min_block_size=1, executor="reference"
    )
    close(compiled(X), before)
    for rank in (1, 2, 6, 3):
        other = adapted(rank)
        tp.load_adapter(model, weights_of(other))
        close(compiled(X), other(X))
    tp.load_adapter(model.base_model.model, weights_of(adapted(2, 5)), alpha=5)
    close(compiled(X), adapted(2, 5)(X))
    scaled = adapted(4, use_rslora=True)
    tp.load_adapter(model, weights_of(scaled), scaling=8 / 4**0.5)
    close(compiled(X), scaled(X))
    partial = adapted(3, modules=("second",))
    tp.load_adapter(model, weights_of(partial))
    close(compiled(X), partial(X))
    assert len(compiled.report.segments) == 1


def test_adapters_that_do_not_fit() -> None:
    model = adapted(2)
    with pytest.raises(tp.UserError, match="has rank 2, and is to be padded to 1"):
        tp.pad_adapters(model, 1)
    tp.pad_adapters(model, 3)
    with pytest.raises(tp.UserError, match="was padded to 3"):
        tp.load_adapter(model, weights_of(adapted(4)))
    kept = model(X)
    half = {name: tensor for name, tensor in weights_of(adapted(2)).items() if "first.lora_A" not in name}
    with pytest.raises(tp.UserError, match="one of lora_A and lora_B for first"):
        tp.load_adapter(model, half)
    with pytest.raises(tp.UserError, match=r"third.*belongs to no layer"):
        tp.load_adapter(model, {**weights_of(adapted(2)), "third.lora_A.weight": X})
    wrong = {name: torch.zeros(2, 5) if "first.lora_A" in name else w for name, w in weights_of(adapted(2)).items()}
    with pytest.raises(tp.UserError, match="does not fit"):
        tp.load_adapter(model, wrong)
    close(model(X), kept)  # nothing was written by halves
    with pytest.raises(tp.UserError, match="no LoRA adapter"):
        tp.pad_adapters(Model(), 4)
    with pytest.raises(tp.UserError, match="more than two products"):
        tp.pad_adapters(adapted(2, use_dora=True), 4)
