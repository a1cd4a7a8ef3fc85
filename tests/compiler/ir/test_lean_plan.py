from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.lean_plan import WeightsChanged, lean, whole, whole_size
from trt_passes.compiler.runtime import runner as runners
from trt_passes.compiler.runtime.compiled_segment import CompiledSegment
from trt_passes.compiler.runtime.engine.engine import EngineUnavailable
from trt_passes.compiler.tensorrt.loader import load


def data_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def engine_of(*parts: bytes) -> bytes:
    """Bytes of an engine, whose weights begin at multiples of 8."""
    made = b"header.."
    for part in parts:
        made += part + b"~" * (-len(part) % 8) + b"between."
    return made


LEAST = 4096


@pytest.mark.parametrize("before", [b"", b"four"])
def test_weights_of_one_byte_begin_at_multiples_of_four(before: bytes) -> None:
    weight = (torch.randn(64, 80) * 50).to(torch.int8)
    plan = b"header.." + before + data_of(weight) + b"the rest"
    rest = lean(plan, [weight])
    assert rest is not None
    assert len(rest) < len(plan) - weight.numel() + 400
    assert bytes(whole(rest, [weight]).data) == plan


@pytest.mark.parametrize(
    ("shape", "order", "dtype"),
    [
        ((64, 40), (0, 1), torch.float32),
        ((64, 40), (1, 0), torch.float32),
        ((64, 40), (1, 0), torch.float16),
        ((65, 83), (0, 1), torch.int8),
        ((2049,), (0,), torch.bfloat16),
        ((16, 8, 3, 3), (0, 2, 3, 1), torch.float32),
        ((16, 32, 5), (0, 2, 1), torch.float32),
        ((4, 8, 3, 3, 5), (0, 2, 3, 4, 1), torch.float32),
    ],
)
def test_what_a_weight_holds_is_left_out_and_put_back(shape: Any, order: Any, dtype: torch.dtype) -> None:
    weight = (torch.randn(shape) * 50).to(dtype)
    plan = engine_of(data_of(weight.permute(order)), b"something else")
    weights = [torch.ones(3), weight]
    rest = lean(plan, weights)
    assert rest is not None
    assert len(rest) < len(plan) - weight.nbytes + 400
    assert whole(rest, weights).tobytes() == plan
    assert whole_size(rest) == whole_size(plan) == len(plan)


def test_weights_that_begin_with_zeros_or_are_there_twice() -> None:
    zeros = torch.cat([torch.zeros(40, 64), torch.randn(40, 64)])
    tied = torch.randn(64, 32)
    view = tied[:, :16]  # 4096 bytes, in the order of rows of its own
    plan = engine_of(data_of(zeros), data_of(tied), data_of(view), data_of(tied))
    weights = [zeros, tied, tied, view]
    rest = lean(plan, weights)
    assert rest is not None
    assert len(rest) < 600
    assert whole(rest, weights).tobytes() == plan


@pytest.mark.parametrize(
    "weights",
    [
        [torch.zeros(64, 64)],
        [torch.ones(4)],
        [torch.randn(64, 64)],
        [torch.empty(64, 64, device="meta")],
        [torch.randn(64, 64).to_sparse()],
        [torch.empty(0, 8)],
        [],
    ],
)
def test_an_engine_without_them_stays_as_it_is(weights: Sequence[torch.Tensor]) -> None:
    plan = engine_of(data_of(torch.randn(64, 64)))
    assert lean(plan, weights) is None
    assert whole(plan, weights).tobytes() == plan


def test_a_weight_that_is_only_begun_is_none() -> None:
    weight = torch.randn(64, 64)
    other = weight.clone()
    other[-1, -1] += 1
    assert lean(engine_of(data_of(other)), [weight]) is None
    assert lean(engine_of(data_of(weight)[:-300]), [weight]) is None


@pytest.mark.parametrize(
    "others",
    [
        lambda weight: [weight + 1],
        lambda weight: [weight.half()],
        lambda weight: [weight.double()],
        lambda weight: [weight.flatten()],
        lambda weight: [torch.randn(128, 64)],
        lambda weight: [],
    ],
)
def test_other_weights_are_an_error(others: Any) -> None:
    weight = torch.randn(64, 64)
    rest = lean(engine_of(data_of(weight)), [weight])
    assert rest is not None
    with pytest.raises(WeightsChanged):
        whole(rest, others(weight))


def test_damage_is_an_error() -> None:
    weight = torch.randn(64, 64)
    rest = lean(engine_of(data_of(weight)), [weight])
    assert rest is not None
    for place in range(0, len(rest), 7):
        damaged = bytearray(rest)
        damaged[place] ^= 0x55
        try:
            found = whole(damaged, [weight])
        except ValueError:
            continue
        assert found.tobytes() == bytes(damaged)  # no longer marked as one without weights
        assert place < 40
    for length in (50, len(rest) - 1):
        with pytest.raises(ValueError):  # noqa: PT011
            whole(rest[:length], [weight])


class Layers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(300, 64)
        self.conv = torch.nn.Conv1d(64, 96, 3, padding=1)
        self.linear = torch.nn.Linear(96, 128)

    def forward(self, ids: torch.Tensor) -> Any:
        return self.linear(self.conv(self.words(ids).mT).relu().mT)


IDS = torch.randint(0, 300, (2, 16))


@pytest.fixture(scope="module", params=["f32", "f16"])
def compiled(request: pytest.FixtureRequest) -> Any:
    model = Layers().eval()
    return tp.compile(model.half() if request.param == "f16" else model, [IDS], min_block_size=1, executor="pytorch")


def test_a_file_has_weights_once_and_gives_the_engine_back(tmp_path: Any, compiled: Any) -> None:
    (segment,) = compiled.segments.values()
    artifact = compiled.report.program.segments[0].engine
    nbytes = sum(weight.nbytes for weight in segment.constants())
    assert artifact.nbytes - segment.engine.numel() > 0.9 * nbytes
    assert compiled.report.segments[0].engine_bytes == artifact.nbytes
    tp.save(compiled, tmp_path / "model.pt2")
    assert (tmp_path / "model.pt2").stat().st_size < artifact.nbytes + 60_000
    loaded = tp.load(tmp_path / "model.pt2", executor="pytorch")
    (again,) = loaded.segments.values()
    assert bytes(again.whole_plan()) == bytes(artifact.whole_plan)
    assert loaded(IDS).equal(compiled(IDS))
    tp.save(compiled, tmp_path / "model.ts")
    assert (tmp_path / "model.ts").stat().st_size < artifact.nbytes + 60_000
    with torch.no_grad():
        again.constants()[0].add_(1)
    with pytest.raises(UserError, match="were written to since its engine was built"):
        again.whole_plan()


class Deserialized:
    """A runtime of TensorRT's that keeps what it was given."""

    def __init__(self) -> None:
        self.given = b""

    def deserialize_cuda_engine(self, data: memoryview) -> None:
        self.given = bytes(data)


def test_tensorrt_is_given_the_whole_engine(monkeypatch: pytest.MonkeyPatch, compiled: Any) -> None:
    runtime = Deserialized()
    monkeypatch.setattr(load().module, "Runtime", lambda logger: runtime)
    monkeypatch.setattr(runners, "unavailable", lambda spec, device: None)
    monkeypatch.setattr(torch.cuda, "device", lambda index: torch.no_grad())
    (segment,) = copy.deepcopy(compiled).segments.values()
    segment.executor = "auto"
    assert isinstance(segment, CompiledSegment)
    with pytest.raises(EngineUnavailable):
        segment.runner._loaded_on(torch.device("cuda", 0), segment.constants)
    assert runtime.given == bytes(compiled.report.program.segments[0].engine.whole_plan)
    assert len(runtime.given) > np.prod((300, 64)) * 2
    with torch.no_grad():
        segment.constants()[0].add_(1)
    with pytest.raises(UserError, match="compile the model again, or with mutable_weights=True"):
        segment.runner._loaded_on(torch.device("cuda", 0), segment.constants)
