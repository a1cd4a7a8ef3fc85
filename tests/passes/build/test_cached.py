"""Engines from the engine cache: the same bytes, and another key for whatever changes an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from trt_passes.compiler.ir.records import SegmentRecord
from trt_passes.compiler.tensorrt import loader
from trt_passes.passes.build import cached as build_cached

pytestmark = pytest.mark.skipif(loader.available() is None, reason="needs TensorRT")


class Model(nn.Module):
    """x f32[B,6] -> f32[B,4], with a choice of arguments and weights."""

    def __init__(self, slope: float = 0.1, dim: int = 1, width: int = 8) -> None:
        super().__init__()
        self.slope, self.dim = slope, dim
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, width), nn.Linear(width, 4)
        self.convolution = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.leaky_relu(self.first(x), self.slope)
        h = self.convolution(h[:, None, None, :])[:, 0, 0]
        return torch.softmax(self.last(h), self.dim)


def compiled(folder: Path, model: nn.Module | None = None, inputs: Any = None, **options: Any) -> Any:
    inputs = inputs or [torch.zeros(3, 6)]
    chosen = {"min_block_size": 1, "cache_dir": folder, "executor": "pytorch", **options}
    return tp.compile((model or Model()).eval(), inputs, **chosen)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the engine of `Model()`."""
    folder = tmp_path_factory.mktemp("engines")
    compiled(folder)
    assert hits(compiled(folder)) == [True]
    return folder


def hits(module: Any) -> list[bool | None]:
    return [record.cached for record in module.report.segments]


def test_a_second_compilation_builds_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiled(tmp_path)
    assert hits(first) == [False]
    assert "the engine cache had 0 of 1 engines." in first.report.notes
    monkeypatch.setattr(build_cached, "build_concurrently", lambda segments, ctx: {} if not segments else None)
    second = compiled(tmp_path)
    assert hits(second) == [True]
    assert "the engine cache had 1 of 1 engines." in second.report.notes
    engines = [next(iter(module.report.program.segments)).engine for module in (first, second)]
    assert bytes(engines[0].plan) == bytes(engines[1].plan)
    assert (engines[0].spec, engines[0].layers, engines[0].log) == (
        engines[1].spec,
        engines[1].layers,
        engines[1].log,
    )
    x = torch.randn(3, 6)
    torch.testing.assert_close(second(x), Model()(x))


def test_a_compilation_that_builds_nothing_keeps_to_its_limit(tmp_path: Path) -> None:
    compiled(tmp_path)
    assert hits(compiled(tmp_path, cache_size=10)) == [True]
    assert not list(tmp_path.iterdir())


def dynamic(low: int, usual: int, high: int) -> list[tp.Input]:
    return [tp.Input(min_shape=(low, 6), opt_shape=(usual, 6), max_shape=(high, 6))]


def changed_weight() -> Model:
    model = Model()
    with torch.no_grad():
        model.first.weight[7, 5] += 1e-6
    return model


class Renamed(Model):
    def forward(self, y: Tensor) -> Tensor:
        return super().forward(y)


def strided() -> Model:
    model = Model()
    model.convolution = nn.Conv2d(1, 1, 3, padding=1, groups=1, dilation=1, padding_mode="zeros", bias=False)
    return model


@pytest.mark.parametrize(
    ("model", "inputs", "options"),
    [
        (changed_weight, None, {}),
        (lambda: Model(slope=0.1000001), None, {}),
        (lambda: Model(dim=0), None, {}),
        (lambda: Model(width=9), None, {}),
        (strided, None, {}),
        (Renamed, None, {}),
        (Model, [torch.zeros(4, 6)], {}),
        (Model, dynamic(1, 3, 8), {}),
        (Model, None, {"disable_tf32": True}),
        (Model, None, {"workspace_size": 1 << 30}),
        (Model, None, {"optimization_level": 1}),
        (Model, None, {"compute_capabilities": "8.9"}),
        (Model, None, {"enable_weight_streaming": True}),
        (Model, None, {"enabled_precisions": "float16"}),
    ],
)
def test_what_changes_an_engine_changes_the_key(model: Any, inputs: Any, options: Any, filled: Path) -> None:
    assert hits(compiled(filled, model(), inputs, **options)) == [False]


def test_the_range_of_a_dimension_is_part_of_the_key(tmp_path: Path) -> None:
    for ranges in ((1, 3, 8), (2, 3, 8), (1, 4, 8), (1, 3, 9)):
        assert hits(compiled(tmp_path, inputs=dynamic(*ranges))) == [False]
    assert hits(compiled(tmp_path, inputs=dynamic(1, 3, 8))) == [True]


def test_what_only_runs_an_engine_is_no_part_of_the_key(filled: Path) -> None:
    options = {"cuda_graphs": True, "reuse_outputs": True, "runtime_cache_path": "kernels.bin"}
    assert hits(compiled(filled, **options)) == [True]


def test_a_poisoned_entry_is_built_again(tmp_path: Path) -> None:
    compiled(tmp_path)
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert hits(compiled(tmp_path)) == [False]
    assert path.read_bytes() == good
    assert hits(compiled(tmp_path)) == [True]


def test_without_a_cache_the_report_says_nothing(tmp_path: Path) -> None:
    module = tp.compile(Model().eval(), [torch.zeros(3, 6)], min_block_size=1)
    assert hits(module) == [None]
    assert SegmentRecord("a", 1, (), (), cached=True).to_json()["cached"] is True


def test_an_engine_that_is_not_kept_is_noted(tmp_path: Path) -> None:
    module = compiled(tmp_path, cache_size=10)
    assert hits(module) == [False]
    assert any("is not in the engine cache: its" in note for note in module.report.notes)
    assert not list(tmp_path.iterdir())
