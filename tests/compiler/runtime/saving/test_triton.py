"""Folders of Triton's model repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.tensorrt.loader import load

SMALL: dict[str, Any] = {"min_block_size": 1, "executor": "pytorch"}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layer(x).relu(), ids + 1


def config_of(folder: Path, model: nn.Module, inputs: Any, **options: Any) -> str:
    compiled = tp.compile(model.eval(), inputs, **{**SMALL, **options})
    if load().is_rtx:
        with pytest.warns(UserWarning, match="Triton's backend reads those of TensorRT"):
            tp.save_engine(compiled, folder, format="triton")
    else:
        tp.save_engine(compiled, folder, format="triton")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == [
        "1",
        "1/model.plan",
        "config.pbtxt",
    ]
    (segment,) = compiled.segments.values()
    assert (folder / "1" / "model.plan").read_bytes() == bytes(segment.whole_plan())
    return (folder / "config.pbtxt").read_text()


def varying(*shape: int, dtype: torch.dtype = torch.float32, low: int = 1) -> tp.Input:
    return tp.Input(min_shape=(low, *shape), opt_shape=(4, *shape), max_shape=(16, *shape), dtype=dtype)


def test_requests_are_put_together_in_the_batch(tmp_path: Path) -> None:
    class Both(Model):
        def forward(self, x: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.layer(x).relu() + ids[:, :3], ids + x.to(ids.dtype)

    text = config_of(tmp_path / "ranker", Both(), [varying(4), varying(4, dtype=torch.int32)])
    assert text.startswith('name: "ranker"\nplatform: "tensorrt_plan"\nmax_batch_size: 16\n')
    assert '{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }' in text
    assert '{ name: "ids" data_type: TYPE_INT32 dims: [ 4 ] }' in text
    assert "dynamic_batching { preferred_batch_size: [ 4 ] }" in text
    assert len(re.findall("data_type", text)) == 4


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([torch.randn(2, 4), torch.ones(2, dtype=torch.int64)], ["max_batch_size: 0", "dims: [ 2, 4 ]", "TYPE_INT64"]),
        ([varying(4, low=2), torch.ones(2, dtype=torch.int64)], ["max_batch_size: 0", "dims: [ -1, 4 ]"]),
        ([torch.randn(2, 4).half(), torch.tensor([3])], ["max_batch_size: 0", "TYPE_FP16", "dims: [ 1 ]"]),
    ],
)
def test_sizes_without_a_batch(tmp_path: Path, inputs: Any, expected: list[str]) -> None:
    model = Model()
    if any(isinstance(item, torch.Tensor) and item.dtype is torch.float16 for item in inputs):
        model = model.half()
    text = config_of(tmp_path / "model", model, inputs)
    assert "dynamic_batching" not in text
    for part in expected:
        assert part in text


class OneNumber(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1)


class Compared(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) - x.mean(0, keepdim=True)


def test_rows_that_depend_on_each_other_are_no_batch(tmp_path: Path) -> None:
    text = config_of(tmp_path / "model", Compared(), [varying(4)])
    assert "max_batch_size: 0" in text
    assert "dims: [ -1, 4 ]" in text
    assert "dynamic_batching" not in text


def test_one_number_for_every_row(tmp_path: Path) -> None:
    text = config_of(tmp_path / 'a"b', OneNumber(), [varying(4)])
    assert text.startswith('name: "a\\"b"\n')
    assert "dims: [ 1 ] reshape: { shape: [ ] }" in text
    assert "max_batch_size: 16" in text


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ([torch.randn(2, 4), torch.tensor(3)], "'ids' has no dimensions"),
        ([torch.randn(0, 4), torch.ones(2)], "'x' has no"),
    ],
)
def test_shapes_that_triton_has_not(tmp_path: Path, inputs: Any, what: str) -> None:
    compiled = tp.compile(Model().eval(), inputs, **SMALL)
    with pytest.raises(tp.UserError, match=what):
        tp.save_engine(compiled, tmp_path / "model", format="triton")
    assert not (tmp_path / "model").exists()


def test_what_triton_cannot_serve(tmp_path: Path) -> None:
    compiled = tp.compile(nn.Linear(4, 3).eval(), [torch.randn(2, 4)], mutable_weights=True, **SMALL)
    with pytest.raises(tp.UserError, match="compile without mutable_weights"):
        tp.save_engine(compiled, tmp_path / "model", format="triton")
    with pytest.raises(tp.UserError, match=r"format is 'tritn'.*'triton'"):
        tp.save_engine(compiled, tmp_path / "model", format="tritn")
    (tmp_path / "file").write_text("")
    compiled = tp.compile(nn.Linear(4, 3).eval(), [torch.randn(2, 4)], **SMALL)
    with pytest.raises(tp.UserError, match="cannot write"):
        tp.save_engine(compiled, tmp_path / "file", format="triton")
