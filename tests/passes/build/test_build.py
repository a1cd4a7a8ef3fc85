import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.errors import Cancelled, UserError
from trt_passes.compiler.ir.annotations import reasons_of, verdict_of
from trt_passes.compiler.ir.engine_spec import EngineArtifact
from trt_passes.compiler.ir.ledger import Verdict
from trt_passes.compiler.ir.program import Program, Segment
from trt_passes.compiler.pass_base import Context
from trt_passes.compiler.pipeline import KNOWN_FACTS
from trt_passes.compiler.settings import Settings
from trt_passes.compiler.tensorrt import loader
from trt_passes.compiler.tensorrt.engine_builder import BuildError
from trt_passes.passes import build as build_module
from trt_passes.passes.build import Build
from trt_passes.passes.build import cached as build_cached
from trt_passes.passes.build import threads as build_threads
from trt_passes.passes.build.culprits import find_culprits
from trt_passes.passes.convert import Convert
from trt_passes.passes.partition import Partition

from tests.compiler.runtime.handmade import empty_engine, partitioned

pytestmark = pytest.mark.skipif(loader.available() is None, reason="TensorRT is not installed")


class Chain(torch.nn.Module):
    """relu, exp, sigmoid, tanh, … in turn."""

    def __init__(self, length: int = 12) -> None:
        super().__init__()
        self.length = length

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index in range(self.length):
            x = (torch.relu, torch.sigmoid, torch.tanh)[index % 3](x)
        return x


class TwoChains(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.sort(torch.tanh(torch.relu(x)))[0]
        return torch.relu(torch.sigmoid(x))


def converted(model: torch.nn.Module, **options: Any) -> tuple[Program, Context, list[str]]:
    notes: list[str] = []
    ctx = Context(settings=Settings.from_options({"min_block_size": 1, **options}), note=notes.append)
    exported = torch.export.export(model, (torch.randn(4, 4),))
    program = partitioned(exported, lambda node: "sort" not in node.name and not node.name.startswith("getitem"))
    return Convert().run(program, ctx), ctx, notes


class FakeBuilder:
    """Stands for TensorRT: cannot build segments with these nodes; counts what it is asked for."""

    def __init__(self, program: Program, culprits: set[str], together: tuple[str, ...] = ()) -> None:
        self.program, self.culprits, self.together = program, culprits, set(together)
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, segments: Sequence[Segment], ctx: Context) -> dict[str, EngineArtifact | BuildError]:
        return {segment.name: self.one(segment) for segment in segments}

    def one(self, segment: Segment) -> EngineArtifact | BuildError:
        self.asked.append(segment.nodes)
        bad = self.culprits & set(segment.nodes)
        if self.together and self.together <= set(segment.nodes):
            bad = bad | self.together
        if bad:
            return BuildError(segment.name, (f"no runner for {', '.join(sorted(bad))}",))
        return empty_engine(self.program, segment)


def run_with(fake: FakeBuilder, program: Program, ctx: Context, monkeypatch: pytest.MonkeyPatch) -> Program:
    for module in (build_module, build_cached):
        monkeypatch.setattr(module, "build_concurrently", fake)
    return Build().run(program, ctx)


def test_every_segment_gets_an_engine() -> None:
    program, ctx, notes = converted(TwoChains())
    after = Build().run(program, ctx)
    assert len(after.segments) == 2
    assert KNOWN_FACTS["built"].violation(after) is None
    for segment in after.segments:
        assert segment.engine is not None
        assert segment.engine.spec.name == segment.name
        assert {node for layer in segment.engine.layers for node in layer["nodes"]} == set(segment.nodes)
    assert not notes


def test_engines_that_exist_are_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    program, ctx, _ = converted(TwoChains())
    fake = FakeBuilder(program, set())
    once = run_with(fake, program, ctx, monkeypatch)
    again = run_with(fake, once, ctx, monkeypatch)
    assert len(fake.asked) == 2
    assert [s.engine for s in again.segments] == [s.engine for s in once.segments]


def test_a_culprit_is_found_by_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    program, ctx, notes = converted(Chain(64))
    culprit = program.segments[0].nodes[40]
    fake = FakeBuilder(program, {culprit})
    after = run_with(fake, program, ctx, monkeypatch)
    assert verdict_of(after.node(culprit)) is Verdict.FAILED
    assert [(r.code, r.message) for r in reasons_of(after.node(culprit))] == [
        ("TP502", f"TensorRT: no runner for {culprit}")
    ]
    assert after.ledger.counts["failed"] == 1
    assert after.ledger.counts["trt"] == 63
    assert KNOWN_FACTS["built"].violation(after) is None
    assert len([nodes for nodes in fake.asked if len(nodes) > 1]) <= 1 + 6 + 2
    assert len(notes) == 1
    assert culprit in notes[0]


@pytest.mark.parametrize("positions", [(3, 50), (10, 11), (0, 63)])
def test_several_culprits_are_all_found(positions: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    program, ctx, _ = converted(Chain(64))
    culprits = {program.segments[0].nodes[position] for position in positions}
    after = run_with(FakeBuilder(program, culprits), program, ctx, monkeypatch)
    assert {row.node for row in after.ledger if row.verdict is Verdict.FAILED} == culprits


def test_repeated_culprits_take_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    program, ctx, _ = converted(Chain(60))
    culprits = {name for name in program.segments[0].nodes if name.startswith("tanh")}
    fake = FakeBuilder(program, culprits)
    after = run_with(fake, program, ctx, monkeypatch)
    assert {row.node for row in after.ledger if row.verdict is Verdict.FAILED} == culprits
    assert max(map(len, fake.asked[1:]), default=0) <= 30


def test_nodes_that_fail_only_together_lose_one(monkeypatch: pytest.MonkeyPatch) -> None:
    program, ctx, _ = converted(Chain(30))
    pair = program.segments[0].nodes[8], program.segments[0].nodes[20]
    after = run_with(FakeBuilder(program, set(), pair), program, ctx, monkeypatch)
    assert [row.node for row in after.ledger if row.verdict is Verdict.FAILED] == [pair[1]]


def test_only_what_changed_is_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    program, ctx, _ = converted(TwoChains())
    untouched = program.segments[0]
    fake = FakeBuilder(program, {"sigmoid"})
    after = run_with(fake, program, ctx, monkeypatch)
    assert fake.asked.count(untouched.nodes) == 1
    assert after.segments[0].network is untouched.network


def test_failures_can_be_passed_through(monkeypatch: pytest.MonkeyPatch) -> None:
    program, ctx, _ = converted(TwoChains(), pass_through_build_failures=True)
    with pytest.raises(BuildError, match="no runner for sigmoid"):
        run_with(FakeBuilder(program, {"sigmoid"}), program, ctx, monkeypatch)


def test_full_compilation_can_be_required(monkeypatch: pytest.MonkeyPatch) -> None:
    program, ctx, _ = converted(Chain(6), require_full_compilation=True)
    assert len(run_with(FakeBuilder(program, set()), program, ctx, monkeypatch).segments) == 1
    program, ctx, _ = converted(Chain(6), require_full_compilation=True)
    lines = r"1 of 6 op nodes stay in PyTorch(?s:.*)1 x aten\.tanh: TP502 TensorRT: no runner"
    with pytest.raises(UserError, match=lines):
        run_with(FakeBuilder(program, {"tanh"}), program, ctx, monkeypatch)
    program, ctx, _ = converted(TwoChains(), require_full_compilation=True)
    with pytest.raises(UserError, match=r"2 engines instead of one(?s:.*)aten\.sort: TP101"):
        Build().run(program, ctx)


def test_a_real_culprit_is_narrowed_down() -> None:
    """TensorRT-RTX accepts NonZero and then cannot build it, so it stands for a converter's mistake."""
    program, ctx, notes = converted(Chain(9))
    library = ctx.tensorrt()
    if library.can_build_nonzero:
        pytest.skip("this TensorRT builds NonZero")

    def spoil(network: Any) -> Any:
        for index in range(network.network.num_layers):
            if network.network.get_layer(index).metadata == "[fx:tanh_1]":
                layer = network.network.add_non_zero(network.network.get_layer(index).get_output(0))
                layer.name = "spoiled"
                network.network.mark_output(layer.get_output(0))
        return network

    with pytest.MonkeyPatch.context() as patch:
        convert = build_module.convert_segment
        patch.setattr(build_module, "convert_segment", lambda *args, **options: spoil(convert(*args, **options)))
        segment = replace(program.segments[0], network=spoil(program.segments[0].network))
        after = Build().run(program.with_segments((segment,)), ctx)
    assert [row.node for row in after.ledger if row.verdict is Verdict.FAILED] == ["tanh_1"]
    assert "spoiled" in reasons_of(after.node("tanh_1"))[0].message
    assert "spoiled" in notes[0]
    assert KNOWN_FACTS["built"].violation(after) is None


def test_a_segment_with_too_many_layers_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "MAX_LAYERS", 20)
    program, ctx, notes = converted(Chain(50))
    after = run_with(FakeBuilder(program, set()), program, ctx, monkeypatch)
    assert len(after.segments) > 2
    assert all(segment.network.network.num_layers <= 20 for segment in after.segments if segment.network)
    assert after.ledger.counts["trt"] == 50
    assert "50 TensorRT layers" in notes[0]


def test_progress_tells_the_segment() -> None:
    seen: list[str] = []
    program, ctx, _ = converted(TwoChains())
    Build().run(program, replace(ctx, progress=lambda text, done, total: seen.append(text)))
    assert {text.split(":")[0] for text in seen} == {"build segment-00", "build segment-01"}


def building_threads() -> list[str]:
    """Other libraries have threads of their own, which may start with the export."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("build-")]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_cancelled_build_stops_and_leaves_no_thread() -> None:
    program, ctx, _ = converted(Chain(300))
    with pytest.raises(Cancelled):
        Build().run(program, replace(ctx, cancelled=lambda: True))
    assert not building_threads()


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_stops_the_build_within_two_seconds() -> None:
    program, ctx, _ = converted(Chain(900))
    pressed: list[float] = []

    def press(text: str, done: int, total: int) -> None:
        if not pressed and done:
            pressed.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Build().run(program, replace(ctx, progress=press))
    assert time.monotonic() - pressed[0] < 2
    assert not building_threads()


def test_an_exception_in_a_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    program, ctx, _ = converted(Chain(6), compute_capabilities=("8.9",))

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError("from the thread")

    monkeypatch.setattr(build_threads, "build_engine", broken)
    with pytest.raises(ZeroDivisionError, match="from the thread"):
        Build().run(program, ctx)


def test_a_bad_setting_is_reported_before_anything_is_built() -> None:
    program, ctx, _ = converted(Chain(3), compute_capabilities=("1.0",))
    with pytest.raises(UserError, match=r"contains 1\.0"):
        Build().run(program, ctx)


@pytest.mark.parametrize("size", [1, 2, 3, 17])
@pytest.mark.parametrize("position", [0, -1])
def test_halving_at_the_ends(size: int, position: int) -> None:
    program, _, _ = converted(Chain(size))
    segment = program.segments[0]
    culprit = segment.nodes[position]
    builds: list[int] = []

    def attempt(part: Segment) -> tuple[str, ...] | None:
        builds.append(len(part.nodes))
        return ("no",) if culprit in part.nodes else None

    assert find_culprits(program, segment, ("no",), attempt) == {culprit: ("no",)}
    assert len([n for n in builds if n > 1]) <= size.bit_length()


def test_partition_options_survive_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "MAX_LAYERS", 20)
    program, ctx, _ = converted(Chain(50))
    assert isinstance(program.partitioned_by, Partition)
    after = run_with(FakeBuilder(program, set()), program, ctx, monkeypatch)
    assert after.partitioned_by.min_block_size == program.partitioned_by.min_block_size  # type: ignore[union-attr]


class Pieces(torch.nn.Module):
    """More than half of its nodes pick results of others, and cannot be in another segment than those."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(12):
            x = torch.cat([part.relu() for part in x.split(1, 1)], 1)
        return x


@pytest.mark.parametrize(("limit", "floor"), [(100, 1), (100, 30), (3, 1), (90, 40)])
def test_a_large_segment_of_which_most_nodes_are_picks_is_split(
    limit: int, floor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "MAX_LAYERS", limit)
    ctx = Context(settings=Settings.from_options({"min_block_size": floor}), note=lambda text: None)
    pipeline = f"decompose,annotate,partition{{min-block-size={floor}}},convert"
    program = tp.PassManager(pipeline).run(tp.trace(Pieces(), [torch.randn(4, 4)])).program
    after = run_with(FakeBuilder(program, set()), program, ctx, monkeypatch)
    assert after.ledger.counts == program.ledger.counts
    sizes = [segment.network.size for segment in after.segments if segment.network]
    # No segment can have less than twice what is too few for one.
    assert len(sizes) == 1 if floor == 40 else max(sizes) <= max(limit, 10)


class Recurrence(torch.nn.Module):
    """A recurrence that is written out: `steps` times three layers of arithmetic on two values."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x
        for _ in range(self.steps):
            state = torch.maximum(torch.exp(-state) * x + state, x * 2)
        return state


def test_a_recurrence_that_would_be_one_large_kernel_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    program, ctx, notes = converted(Recurrence(110))
    (segment,) = program.segments
    assert segment.network is not None
    assert segment.network.largest_kernel == 330
    after = run_with(FakeBuilder(program, set()), program, ctx, monkeypatch)
    assert len(after.segments) == 2
    assert after.ledger.counts["trt"] == len(program.op_nodes)
    assert "330 TensorRT layers of arithmetic for one kernel" in notes[0]


def test_chains_and_what_products_and_reductions_separate_are_not_large() -> None:
    class Blocks(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for index in range(9):
                x = Recurrence(2)(x)
                x = x @ x if index % 2 else x * x.sum(1, keepdim=True)
            return Chain(50)(x)

    program, _, _ = converted(Blocks())
    assert program.segments[0].network is not None
    assert program.segments[0].network.largest_kernel <= 8
