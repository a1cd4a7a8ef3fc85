"""Weights that are inputs of engines: they may change after compiling."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.utils import _pytree as pytree

from tests.marks import gpu

SMALL: dict[str, Any] = {"min_block_size": 1, "executor": "reference"}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 5, 2, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


class Language(nn.Module):
    """An embedding that is the last layer, too."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(10, 8), nn.Parameter(torch.randn(1, 6, 8))
        self.block, self.head = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 10)
        self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.words(ids) + self.places))


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=2),
            nn.BatchNorm2d(8),
            nn.GroupNorm(2, 8),
            nn.InstanceNorm2d(8, affine=True),
            nn.PReLU(),
            nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2),
        )
        self.cube = nn.utils.parametrizations.weight_norm(nn.Conv3d(1, 2, 2))
        norm: Any = self.layers[1]
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layers(x), self.cube(x[:, None])


MODELS = {
    Recurrent: torch.randn(2, 3, 4),
    Language: torch.randint(0, 10, (2, 6)),
    Images: torch.randn(2, 4, 6, 6),
}


def same(one: Any, other: Any, **tolerance: float) -> None:
    for a, b in zip(pytree.tree_leaves(one), pytree.tree_leaves(other), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("kind", MODELS)
def test_weights_are_inputs(kind: type[nn.Module], precision: str) -> None:
    model, new, x = kind().eval(), kind().eval(), MODELS[kind]
    compiled = tp.compile(model, [x], mutable_weights=True, enabled_precisions={precision}, **SMALL)
    near = {} if precision == "float32" else {"rtol": 2e-2, "atol": 2e-2}
    assert len(compiled.segments) == 1
    assert compiled.report.coverage == 1
    same(compiled(x), model(x), **near)
    model.load_state_dict(new.state_dict())
    same(compiled(x), new(x), **near)
    other = kind().eval()
    compiled.load_state_dict(other.state_dict())
    same(compiled(x), other(x), **near)
    assert compiled.changed_weights == []


@pytest.mark.parametrize("ir", ["ts", "fx", "torch_compile"])
def test_other_front_ends(ir: str) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval().requires_grad_(False)
    x = torch.randn(3, 4)
    compiled = tp.compile(model, [x], ir=ir, mutable_weights=True, min_block_size=1, executor="pytorch")
    with torch.no_grad():
        same(compiled(x), model(x))
        for _ in range(3):
            model.load_state_dict({name: torch.randn_like(weight) for name, weight in model.state_dict().items()})
            same(compiled(x), model(x))
    if ir == "torch_compile":
        assert [graph.builds for graph in compiled.graphs] == [1]


def test_an_average_of_weights_takes_effect() -> None:
    model = nn.Linear(4, 3).eval()
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5))
    x = torch.randn(2, 4)
    compiled = tp.compile(average.module, [x], mutable_weights=True, **SMALL)
    for _ in range(3):
        with torch.no_grad():
            model.weight.add_(1)
        average.update_parameters(model)
        same(compiled(x), average(x))


def test_some_weights_by_name() -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)).eval(), torch.randn(3, 4)
    compiled = tp.compile(model, [x], mutable_weights={"1.*"}, **SMALL)
    (segment,) = compiled.segments.values()
    assert {binding.name for binding in segment.spec.inputs} == {"input", "p_1_weight", "p_1_bias"}
    new = copy.deepcopy(model)
    nn.init.ones_(new[1].weight)
    compiled.load_state_dict(new.state_dict())
    same(compiled(x), new(x))
    nn.init.ones_(new[0].weight)
    with pytest.raises(tp.UserError, match=r"0\.weight is part of an engine"):
        compiled.load_state_dict(new.state_dict())
    with pytest.raises(tp.UserError, match=r"has '2\.\*', which names no weight"):
        tp.compile(model, [x], mutable_weights=["2.*"], **SMALL)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, {"*"}), ("yes", {"*"}), (False, set()), ("off", set()), (None, set()), ("a.*, b", {"a.*", "b"})],
)
def test_values_of_the_option(value: Any, expected: set[str]) -> None:
    assert tp.Settings(mutable_weights=value).mutable_weights == expected
    assert tp.Settings.from_options({"immutable_weights": False}).mutable_weights == {"*"}
    with pytest.raises(tp.UserError, match="option 'mutable_weights'"):
        tp.Settings(mutable_weights=[3])


def test_files_hold_weights_once(tmp_path: Path) -> None:
    model, x = nn.Linear(1024, 1024).eval(), torch.randn(1, 1024)
    compiled = tp.compile(model, [x], mutable_weights=True, min_block_size=1, executor="pytorch")
    with torch.no_grad():
        model.weight.add_(1)
    tp.save(compiled, tmp_path / "model.pt2")
    held = sum(weight.nbytes for weight in model.parameters())
    assert held < (tmp_path / "model.pt2").stat().st_size < 1.3 * held
    same(tp.load(tmp_path / "model.pt2")(x), model(x))
    tp.save_engine(compiled, tmp_path / "model.engine")
    record = json.loads((tmp_path / "model.engine.json").read_text())
    assert record["weights"] == {"p_weight": "weight", "p_bias": "bias"}
    assert record["arguments"] == ["input"]
    assert (tmp_path / "model.engine").stat().st_size < held / 4


def test_an_engine_is_found_in_the_cache_whatever_the_weights(tmp_path: Path) -> None:
    x = torch.randn(2, 4)
    for expected in (False, True):
        model = nn.Linear(4, 3).eval()
        options = {"cache_dir": str(tmp_path), "min_block_size": 1, "executor": "pytorch"}
        compiled = tp.compile(model, [x], mutable_weights=True, **options)
        assert compiled.report.segments[0].cached is expected
        same(compiled(x), model(x))


@gpu
def test_new_weights_reach_a_captured_graph() -> None:
    model, x = nn.Sequential(nn.Linear(64, 64), nn.ReLU()).eval().cuda(), torch.randn(2, 64, device="cuda")
    compiled = tp.compile(model, [x], mutable_weights=True, min_block_size=1, cuda_graphs=True, executor="tensorrt")
    for _ in range(3):
        same(compiled(x), model(x), rtol=1e-2, atol=1e-2)
        model.load_state_dict({name: torch.randn_like(weight) for name, weight in model.state_dict().items()})
    same(compiled(x), model(x), rtol=1e-2, atol=1e-2)
