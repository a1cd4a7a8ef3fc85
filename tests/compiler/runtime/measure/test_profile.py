"""The join of kernels with layers, nodes and lines: no GPU is needed for it."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.runtime.measure.layers_of_kernels import layers_of_kernels
from trt_passes.compiler.runtime.measure.profile import GPU, Limits, Profile, shares
from trt_passes.compiler.runtime.measure.profile_diff import diff_text
from trt_passes.compiler.runtime.measure.profiling import joined
from trt_passes.compiler.runtime.measure.trace import kernels, launches, spans

from tests.models import Counter, NonZero, Sorted, seeded

LAYERS = [
    {"name": "__myl_CastConc_myl0_0", "nodes": ["x_f16", "linear"], "tactic": "__myl_CastConc_0xcabb14a9"},
    {"name": "linear_1_myl0_1", "nodes": ["linear", "relu"], "tactic": "__myelin_CASK_STUB"},
    {"name": "__myl_ResiCast_myl0_2", "nodes": ["resize"], "tactic": "__myl_ResiCast_0x58ef4e24"},
]
PLACES = {
    "x_f16": ("model.py:3", "head", "aten._to_copy"),
    "linear": ("model.py:3", "head", "aten.linear"),
    "relu": ("model.py:4", "", "aten.relu"),
    "resize": ("model.py:88", "up", "aten.upsample_bilinear2d.vec"),
    "sort": ("model.py:90", "", "aten.sort"),
}


class Trace:
    """Writes events as Kineto does: ranges and launches on the CPU, kernels on the GPU, joined by correlation."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._cpu, self._gpu, self._correlation = 0.0, 1000.0, 0

    def range(self, name: str, kind: str = "user_annotation") -> Any:
        trace, begin = self, self._cpu

        class Open:
            def __enter__(self) -> None:
                trace._cpu += 1

            def __exit__(self, *error: object) -> None:
                trace._cpu += 1
                event = {"ph": "X", "cat": kind, "name": name, "ts": begin, "dur": trace._cpu - begin, "tid": 7}
                trace.events.append(event)
                trace._cpu += 1

        return Open()

    def kernel(self, name: str, us: float, gap: float = 2.0, cat: str = "kernel") -> None:
        self._correlation += 1
        launch = {"ph": "X", "cat": "cuda_driver", "name": "cuLaunchKernelEx", "ts": self._cpu, "dur": 0.5, "tid": 7}
        ran = {"ph": "X", "cat": cat, "name": name, "ts": self._gpu + gap, "dur": us, "tid": 99}
        for event in (launch, ran):
            self.events.append({**event, "args": {"correlation": self._correlation}})
        self._cpu += 1
        self._gpu += gap + us


def recorded(times: Iterator[float]) -> list[dict[str, Any]]:
    trace = Trace()
    trace.kernel("a kernel before the calls", 500.0)
    for scale in times:
        with trace.range("trt_passes::call"):
            with trace.range("trt_passes::segment_00"):
                trace.kernel("__myl_CastConc_0xcabb14a9", 2 * scale)
                trace.kernel("sm80_xmma_gemm_f16f16", 6 * scale)
                trace.kernel("splitKreduce_kernel", 1 * scale)
                trace.kernel("__myl_ResiCast_0x58ef4e24", 30 * scale)
            with trace.range("trt_passes::sort"), trace.range("aten::sort", "cpu_op"):
                trace.kernel("Memcpy DtoD", 1 * scale, cat="gpu_memcpy")
                trace.kernel("radixSortKernel", 10 * scale)
    return trace.events


HEAD = Profile(GPU, "a GPU", 60.0, 20.0, 0.0, (), (), Limits(4e12, {"float16": 7e14}))


def made(scales: tuple[float, ...] = (1.0, 1.0, 5.0)) -> Profile:
    floors = {"linear": 4.0, "relu": 1.0, "resize": 0.5, "x_f16": 1.0}
    return joined(recorded(iter(scales)), {"segment_00": "segment-00"}, {"segment-00": LAYERS}, PLACES, floors, HEAD)


def test_kernels_come_with_layers_nodes_and_lines() -> None:
    profile = made()
    by_name = {row.name: row for row in profile.kernels}
    assert by_name["__myl_ResiCast_0x58ef4e24"].layers == ("__myl_ResiCast_myl0_2",)
    assert by_name["sm80_xmma_gemm_f16f16"].nodes == ("linear", "relu")
    assert by_name["splitKreduce_kernel"].layers == ("linear_1_myl0_1",)
    assert by_name["radixSortKernel"].segment is None
    assert by_name["radixSortKernel"].operator == "aten::sort"
    assert profile.busy_us == pytest.approx(50.0)
    assert profile.copies_us == pytest.approx(1.0)
    assert profile.islands_us == pytest.approx(11.0)
    assert profile.unknown_us == 0
    assert profile.idle_us == pytest.approx(10.0)


def test_a_trace_that_was_recorded_on_a_gpu_is_joined_kernel_by_kernel() -> None:
    """Two engines with a sort between them, three calls on an H200: TensorRT launched one kernel for each layer."""
    data = json.loads(gzip.decompress(Path(__file__).with_name("recorded_trace.json.gz").read_bytes()))
    nodes = {node for group in data["layers"].values() for layer in group for node in layer["nodes"]}
    places = {name: (f"model.py:{index}", "", name) for index, name in enumerate(sorted(nodes | {"sort"}))}
    segments = {"segment_00": "segment-00", "segment_01": "segment-01"}
    profile = joined(data["events"], segments, data["layers"], places, {}, HEAD)
    for name, layers in data["layers"].items():
        rows = [row for row in profile.kernels if row.segment == name]
        assert [row.layers for row in rows] == [(layer["name"],) for layer in layers]
        for row in rows:
            if row.name.startswith("__myl_"):
                assert row.layers[0].startswith(row.name.rpartition("_0x")[0])
    stays = [row for row in profile.kernels if row.segment is None]
    assert {row.nodes for row in stays} == {("sort",)}
    assert any(row.kind == "copy" for row in stays)
    assert profile.unknown_us == 0
    assert 250 < profile.busy_us < 400
    (resize,) = (row for row in profile.kernels if "ResiCast" in row.name)
    assert resize.nodes == ("upsample_bilinear2d", "upsample_bilinear2d_f32")


def test_times_are_medians_over_the_calls_and_add_up() -> None:
    profile = made((1.0, 2.0, 50.0))
    assert profile.busy_us == pytest.approx(100.0)
    assert sum(row.us for row in profile.nodes) == pytest.approx(profile.busy_us)
    assert sum(place.us for place in profile.lines()) == pytest.approx(profile.busy_us)
    assert sum(place.us for place in profile.modules()) == pytest.approx(profile.busy_us)


def test_lines_are_ordered_and_have_their_floors() -> None:
    first, *others = made().lines()
    assert (first.name, first.us, first.floor_us) == ("model.py:88", pytest.approx(30.0), 0.5)
    assert "model.py:88 upsample_bilinear2d.vec: 30.0 us, 60 %, floor 0.5 us" in str(made())
    assert [place.name for place in others] == ["model.py:90", "model.py:3", "model.py:4"]
    assert [place.name for place in made().operators()] == ["aten.sort"]


def test_a_kernel_counts_for_its_nodes_by_what_they_must_do() -> None:
    found = shares(["linear", "relu", "view"], {"linear": 4.0, "relu": 1.0})
    assert found["linear"] == pytest.approx(4 * found["relu"])
    assert found["view"] < found["relu"] / 50
    assert sum(found.values()) == pytest.approx(1)
    assert shares(["a", "b"], {}) == {"a": 0.5, "b": 0.5}
    assert shares([], {}) == {}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["__myl_CastConc_0xcabb14a9", "gemm", "__myl_ResiCast_0x58ef4e24"], [[0], [1], [2]]),
        (["__myl_CastConc_myl0_0", "gemm", "reduce", "__myl_ResiCast_myl0_2"], [[0], [1], [1], [2]]),
        (["first", "second", "third"], [[0], [1], [2]]),
        (["only"], [[0, 1, 2]]),
        (["__myl_CastConc_0xffff", "__myl_CastConc_0xcabb14a9"], [[0], [1, 2]]),
        (["__myl_ResiCast_0x58ef4e24", "memset"], [[2], [2]]),
        ([], []),
    ],
)
def test_kernels_find_their_layers(names: list[str], expected: list[list[int]]) -> None:
    found = layers_of_kernels(names, LAYERS)
    assert [[LAYERS.index(layer) for layer in group] for group in found] in (expected, _mirrored(expected))


def _mirrored(expected: list[list[int]]) -> list[list[int]]:
    """Of two kernels of one name either may be the layer's."""
    return [[0], [0]] if expected == [[0], [1, 2]] else expected


def test_kernels_of_an_engine_whose_layers_are_not_known_count_for_it() -> None:
    profile = joined(recorded(iter((1.0,))), {"segment_00": "segment-00"}, {}, PLACES, {}, HEAD)
    assert {row.segment for row in profile.kernels} == {"segment-00", None}
    assert profile.unknown_us == pytest.approx(39.0)


def test_calls_that_launch_different_kernels_are_averaged() -> None:
    trace = Trace()
    for count in (1, 3):
        with trace.range("trt_passes::call"), trace.range("trt_passes::sort"):
            for _ in range(count):
                trace.kernel("k", 4.0)
    (kernel,) = kernels(launches(trace.events))
    assert kernel.us == pytest.approx(8.0)
    assert spans(launches(trace.events))[0] == pytest.approx((4 + 4 * 3 + 2 * 2) / 2)


def test_a_profile_is_written_and_read(tmp_path: Path) -> None:
    profile = made()
    profile.save(tmp_path / "profile.json")
    assert Profile.load(tmp_path / "profile.json") == profile


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "trt-passes profile", "schema": 1}', '{"kind": 3}', "null"])
def test_what_is_no_profile_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(tp.UserError, match="no profile of trt-passes"):
        Profile.load(tmp_path / "x.json")


def test_a_profile_of_a_newer_release_is_told(tmp_path: Path) -> None:
    data = {**made().to_json(), "schema": 99}
    with pytest.raises(tp.UserError, match="upgrade trt-passes"):
        Profile.from_json(data)


def test_two_profiles_differ_by_line_and_module() -> None:
    text = diff_text(made((1.0,)), made((3.0,)))
    assert "+100.0 us  busy: 50.0 us -> 150.0 us (+200 %)" in text
    lines = [line for line in text.splitlines() if "model.py" in line]
    assert lines[0].split()[:3] == ["+60.0", "us", "model.py:88:"]
    assert "nothing changed" in diff_text(made(), made())


@pytest.mark.parametrize("model", [Sorted(), Counter(), NonZero()])
def test_pytorchs_operators_are_timed_on_a_cpu(model: torch.nn.Module) -> None:
    x = torch.randn(4, 8) if isinstance(model, Sorted) else torch.randn(8 if isinstance(model, NonZero) else 3)
    before = copy.deepcopy(model.state_dict())
    module = tp.compile(seeded(model), [x], executor="pytorch", min_block_size=1, torch_executed_ops={"aten.sort"})
    weights = copy.deepcopy(model.state_dict())
    profile = module.profile(x)
    assert profile.measured == "PyTorch's operators on the CPU"
    assert "tests/models.py:" in str(profile)
    known = {node.name for node in module.report.program.graph.nodes}
    assert {row.node for row in profile.nodes if not row.op.startswith("aten.copy_")} <= known
    assert all(row.us > 0 for row in profile.nodes)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert before.keys() == weights.keys()


def test_without_a_gpu_a_profile_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    x = torch.randn(4, 8)
    module = tp.compile(seeded(Sorted()), [x], min_block_size=1)
    with pytest.raises(tp.UserError, match=r"this machine has none that PyTorch can use.*it is auto"):
        module.profile(x)


def test_a_saved_module_knows_its_lines(tmp_path: Path) -> None:
    x = torch.randn(4, 8)
    module = tp.compile(seeded(Sorted()), [x], executor="pytorch", min_block_size=1)
    tp.save(module, tmp_path / "m.pt2")
    tp.save(tp.load(tmp_path / "m.pt2"), tmp_path / "again.pt2")
    loaded = tp.load(tmp_path / "again.pt2")
    assert loaded.joins.places == module.joins.places
    assert [layer["nodes"] for layer in loaded.joins.layers["segment-00"]] == [
        layer["nodes"] for layer in module.joins.layers["segment-00"]
    ]
    assert {place.name for place in loaded.profile(x).lines()} == {place.name for place in module.profile(x).lines()}
