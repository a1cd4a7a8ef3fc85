"""Weights that change after engines were built with them: no file holds old ones beside new ones."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

from ....subclasses import Quantized

OPTIONS: dict[str, Any] = {"executor": "pytorch", "min_block_size": 1, "pass_through_build_failures": True}
X = torch.ones(2, 4)


class Model(nn.Module):
    """Linear layers, the weight of one of which is read transposed too: x f32[2,4] -> f32[2,4]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.second(torch.relu(self.first(x)).sin()))) @ self.first.weight


class FoldedAndLive(nn.Module):
    """One weight whose square goes into an engine, and which PyTorch reads as it is: x f32[2,4] -> f32[4,2]."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4) + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.solve(self.weight, torch.relu(x @ (self.weight * self.weight)).t())


def merged(model: Any) -> None:
    model.first.weight.data += torch.full((4, 1), 0.5) @ torch.ones(1, 4)


def added(model: Any) -> None:
    model.first.weight.data.add_(1)


def one_element(model: Any) -> None:
    model.first.weight.data[3, 3] *= -1


def loaded(model: Any) -> None:
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})


def copied(model: Any) -> None:
    with torch.no_grad():
        model.first.weight.copy_(torch.zeros(4, 4))


def in_inference_mode(model: Any) -> None:
    with torch.inference_mode():
        model.first.weight.zero_()


CHANGES: tuple[Callable[[Any], None], ...] = (merged, added, one_element, loaded, copied, in_inference_mode)


@torch.no_grad()
@pytest.mark.parametrize("change", CHANGES)
def test_a_module_with_changed_weights_is_not_saved(change: Callable[[Any], None], tmp_path: Path) -> None:
    model = Model().eval()
    compiled = tp.compile(model, [X], **OPTIONS)
    assert compiled.changed_weights == []
    change(model)
    assert "first.weight" in compiled.changed_weights
    with pytest.raises(tp.UserError, match=r"\w was written to since the engines were built"):
        tp.save(compiled, tmp_path / "m.pt2")
    with pytest.raises(tp.UserError, match="was written to since the engines were built"):
        tp.save(copy.deepcopy(compiled), tmp_path / "m.pt2")


def replaced(model: Any) -> None:
    model[0] = nn.Linear(4, 4)


def replaced_weight(model: Any) -> None:
    model[0].weight = nn.Parameter(torch.zeros(4, 4))


def statistics(model: Any) -> None:
    model[1].running_mean.add_(1)


def scaled(model: Any) -> None:
    model[0].weight.data.mul_(2)


@torch.no_grad()
@pytest.mark.parametrize("change", [replaced, replaced_weight, statistics, scaled])
def test_weights_that_were_folded_into_others_are_compared_too(change: Callable[[Any], None], tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    compiled = tp.compile(model, [X], **OPTIONS)
    tp.save(compiled, tmp_path / "m.pt2")
    change(model)
    for save in (tp.save, tp.save_engine):
        with pytest.raises(tp.UserError, match=r"\w was written to since the engines were built"):
            save(compiled, tmp_path / "n.pt2")
    del model
    gc.collect()
    tp.save(compiled, tmp_path / "m.pt2")


@torch.no_grad()
def test_what_a_subclass_of_tensors_wraps_is_compared_too() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False)).eval()
    model[0].weight = nn.Parameter(Quantized.of(torch.randn(4, 4)), requires_grad=False)
    compiled = tp.compile(model, [X], **OPTIONS)
    assert compiled.changed_weights == []
    model[0].weight.s.add_(1)
    assert compiled.changed_weights == ["0.weight"]


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_with_changed_weights_is_not_saved(tmp_path: Path) -> None:
    model = Model().eval()
    script, compiled = tp.compile(model, [X], ir="ts", **OPTIONS), tp.compile(model, [X], **OPTIONS)
    tp.save(script, tmp_path / "m.ts")
    torch.testing.assert_close(torch.jit.load(tmp_path / "m.ts")(X), model(X))
    added(model)
    for module in (script, compiled):
        with pytest.raises(tp.UserError, match=r"\w was written to since the engines were built"):
            tp.save(module, tmp_path / "m.ts")


@torch.no_grad()
def test_a_weight_that_is_as_before_is_saved(tmp_path: Path) -> None:
    model = Model().eval()
    compiled = tp.compile(model, [X], **OPTIONS)
    model.first.weight.data.add_(1)
    model.first.weight.data.sub_(1)
    state = copy.deepcopy(model.state_dict())
    fresh = tp.compile(model, [X], **OPTIONS)
    model.load_state_dict(state)
    assert fresh.changed_weights == []
    tp.save(fresh, tmp_path / "m.pt2")
    torch.testing.assert_close(tp.load(tmp_path / "m.pt2", executor="pytorch")(X), model(X))
    assert compiled.to("cpu") is compiled


@torch.no_grad()
def test_a_loaded_module_knows_what_its_engines_hold(tmp_path: Path) -> None:
    model = Model().eval()
    tp.save(tp.compile(model, [X], **OPTIONS), tmp_path / "m.pt2")
    again = tp.load(tmp_path / "m.pt2", executor="pytorch")
    assert again.changed_weights == []
    tp.save(again, tmp_path / "n.pt2")
    again.first.weight.data.mul_(2)
    with pytest.raises(tp.UserError, match=r"first\.weight was written to"):
        tp.save(again, tmp_path / "m.pt2")


@torch.no_grad()
@pytest.mark.parametrize("changes", [True, False])
def test_a_weight_that_an_engine_holds_in_another_form(changes: bool, tmp_path: Path) -> None:
    model = FoldedAndLive().eval()
    compiled = tp.compile(model, [X], **OPTIONS)
    if changes:
        model.weight.data.add_(1)
        with pytest.raises(tp.UserError, match=r"\w was written to since the engines were built"):
            tp.save(compiled, tmp_path / "m.pt2")
    else:
        tp.save(compiled, tmp_path / "m.pt2")
        torch.testing.assert_close(tp.load(tmp_path / "m.pt2", executor="pytorch")(X), model(X))


@torch.no_grad()
def test_statistics_that_are_written_without_a_count(tmp_path: Path) -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(torch.relu(x)) * 2

    model = Normalized().eval()
    compiled = tp.compile(model, [X], **OPTIONS)
    model.train()(torch.arange(8.0).reshape(2, 4))
    with pytest.raises(tp.UserError, match=r"norm\.running_\w+ was written to since"):
        tp.save(compiled, tmp_path / "m.pt2")
