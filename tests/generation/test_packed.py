"""Linear layers of one input as parts of one: the same numbers, and a model that is as before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from trt_passes.compiler.frontends.called_again import python_state_watched
from trt_passes.generation.packed import packed

from .models import decoder, encoder_decoder


@pytest.mark.parametrize(
    ("name", "widths"),
    [("llama", [[64, 32, 32], [96, 96]] * 2), ("gpt2", []), ("mixtral", [[64, 32, 32]] * 2)],
)
def test_a_decoder(name: str, widths: Any) -> None:
    model = decoder(name)
    ids = torch.randint(3, 90, (2, 5))
    before, state = model(ids).logits, {key: value.clone() for key, value in model.state_dict().items()}
    with packed(model, ids) as together:
        assert [item.sizes for item in together] == widths
        assert torch.equal(model(ids).logits, before)
    assert torch.equal(model(ids).logits, before)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert type(next(iter(model.modules()))) is type(model)


def test_weights_are_parts_of_one_memory() -> None:
    model = encoder_decoder("bart")
    ids = torch.ones(1, 3, dtype=torch.int64)
    with packed(model, input_ids=ids, decoder_input_ids=ids) as together:
        pass
    layer = model.model.decoder.layers[0].self_attn
    starts = {item.weight.untyped_storage().data_ptr() for item in together}
    assert layer.q_proj.weight.untyped_storage().data_ptr() in starts
    assert layer.out_proj.weight.untyped_storage().data_ptr() not in starts


def test_nothing_is_kept_from_call_to_call() -> None:
    model, ids = decoder("llama"), torch.ones(1, 2, dtype=torch.int64)
    with packed(model, ids) as together:
        model.packed = together
        with python_state_watched(model) as changed:
            model(ids)
        del model.packed
    assert not [place.name for place in changed if "packed" in place.name]


class Odd(nn.Module):
    """Layers that must stay apart."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 16), nn.Linear(8, 16, bias=False), nn.Linear(8, 12)
        self.twice, self.tied = nn.Linear(8, 16), nn.Linear(8, 16)
        self.table = nn.Embedding(16, 8)
        self.tied.weight = self.table.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.a(x) + self.b(x) + self.twice(x) + self.twice(x) + self.tied(x)
        return torch.cat([found, self.c(x), self.table.weight.flatten()[None]], dim=1)


def test_what_stays_apart() -> None:
    model, x = Odd(), torch.randn(1, 8)
    with packed(model, x) as together:
        assert not len(together)


def test_an_error_leaves_the_model_as_it_was() -> None:
    model = decoder("llama")
    layer = model.model.layers[0].mlp.up_proj
    with pytest.raises(ZeroDivisionError), packed(model, torch.ones(1, 2, dtype=torch.int64)):
        raise ZeroDivisionError
    assert model.model.layers[0].mlp.up_proj is layer
