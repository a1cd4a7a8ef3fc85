"""A model in training mode is compiled after one warning; others are compiled without."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.nn import functional as F

OPTIONS: dict[str, Any] = {"executor": "reference", "min_block_size": 1}
X = torch.ones(4, 6)


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def layers(*others: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU(), *others, nn.Linear(6, 6))


class AlwaysDrops(nn.Module):
    """Dropout that is wanted in inference too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(torch.relu(x), 0.5, training=True)


class Attends(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[None, None]
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.1 if self.training else 0.0)


TRAINED: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: layers(nn.Dropout(0.5)),
    "alpha dropout": lambda: layers(nn.AlphaDropout(0.5)),
    "batch norm": lambda: layers(nn.BatchNorm1d(6)),
    "attention": Attends,
    "both": lambda: layers(nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Dropout(0.1)),
}

THE_SAME: dict[str, Callable[[], nn.Module]] = {
    "no such layers": layers,
    "dropout of nothing": lambda: layers(nn.Dropout(0.0)),
    "batch norm without statistics": lambda: layers(nn.BatchNorm1d(6, track_running_stats=False)),
    "layer norm": lambda: layers(nn.LayerNorm(6)),
}


def warned(compile: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        compile()
    return [str(item.message) for item in found if "training mode" in str(item.message)]


@pytest.mark.parametrize("ir", ["dynamo", "fx", "ts", "torch_compile"])
def test_every_front_end_warns_once(ir: str) -> None:
    (text,) = warned(lambda: tp.compile(layers(nn.BatchNorm1d(6)).train(), [X], ir=ir, **OPTIONS))
    assert "call model.eval()" in text
    assert "aten.batch_norm" in text


@pytest.mark.parametrize("name", TRAINED)
def test_models_in_training_mode(name: str) -> None:
    model = TRAINED[name]()
    assert len(warned(lambda: tp.compile(model.train(), [X], **OPTIONS))) == 1
    assert warned(lambda: tp.compile(model.eval(), [X], **OPTIONS)) == []
    exported = torch.export.export(model.train(), (X,))
    assert len(warned(lambda: tp.compile(exported, **OPTIONS))) == 1


def test_the_warning_names_the_line() -> None:
    (text,) = warned(lambda: tp.trace(Attends().train(), [X]))
    assert "test_training_mode.py:" in text


@pytest.mark.parametrize("ir", ["dynamo", "torch_compile"])
@pytest.mark.parametrize("name", THE_SAME)
def test_models_that_are_the_same_in_either_mode(name: str, ir: str) -> None:
    model = THE_SAME[name]().requires_grad_(False)
    assert warned(lambda: tp.compile(model.train(), [X], ir=ir, **OPTIONS)) == []


def test_dropout_that_is_wanted_in_eval_mode() -> None:
    assert warned(lambda: tp.compile(AlwaysDrops().eval(), [X], **OPTIONS)) == []
