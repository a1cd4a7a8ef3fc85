"""Builds that take too long are ended and their segments split; builds that crash take nothing with them."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.errors import Cancelled
from trt_passes.compiler.ir.annotations import reasons_of
from trt_passes.compiler.tensorrt import loader
from trt_passes.compiler.tensorrt.engine_builder import BuildError, BuildTimeout, build_engine
from trt_passes.passes.build import Build, copied, threads
from trt_passes.visualize.why import why_text

from tests.passes.build.test_build import Chain, TwoChains, converted

pytestmark = pytest.mark.skipif(loader.available() is None, reason="TensorRT is not installed")

X = torch.randn(4, 4)


@pytest.fixture
def copies() -> None:
    if not copied.can_copy():
        pytest.skip("this process uses a GPU: engines are built in it, where nothing ends them between two steps")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, copies: None) -> Callable[[int], None]:
    """Let networks of more than so many layers take minutes, in one step that nothing can stop."""

    def set_limit(limit: int) -> None:
        def build(network: Any, *args: Any, **options: Any) -> Any:
            if network.size > limit:
                options["progress"]("Determining refit engines", 0, 1)
                time.sleep(100)
            return build_engine(network, *args, **options)

        monkeypatch.setattr(threads, "build_engine", build)

    return set_limit


def compiled(model: torch.nn.Module, **options: Any) -> Any:
    return tp.compile(model, [X], executor="reference", **{"min_block_size": 1, "build_seconds": 0.5, **options})


def test_a_slow_segment_is_split_until_its_parts_are_built(slow: Callable[[int], None]) -> None:
    slow(4)
    model = Chain(12)
    module = compiled(model)
    report = module.report
    assert [record.ops for record in report.segments] == [3, 3, 3, 3]
    assert report.verdicts["trt"] == 12
    assert module(X).equal(model(X))
    assert "segment-00 was not built within 0.5 s (build_seconds): its 12 op nodes are split before %relu_2" in str(
        report.notes
    )
    assert "test_build.py" in report.notes[0]
    assert "engines are cut before %relu_2 (" in why_text(report.program)


def test_other_segments_keep_their_engines(slow: Callable[[int], None]) -> None:
    slow(3)

    class Both(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.sort(torch.tanh(torch.relu(x)))[0]
            return Chain(6)(x)

    module = compiled(Both(), torch_executed_ops={"aten.sort"})
    assert [record.ops for record in module.report.segments] == [2, 3, 3]
    assert module(X).equal(Both()(X))


def test_what_is_too_small_to_be_split_stays_in_pytorch(slow: Callable[[int], None]) -> None:
    slow(4)
    model = Chain(6)
    module = compiled(model, min_block_size=4)
    assert module.report.verdicts["failed"] == 6
    nodes = module.report.program.op_nodes
    assert {reason.code for node in nodes for reason in reasons_of(node)} == {"TP503"}
    assert "PyTorch runs its 6 op nodes" in module.report.notes[0]
    assert module(X).equal(model(X))


def test_timeouts_can_be_passed_through(slow: Callable[[int], None]) -> None:
    slow(4)
    with pytest.raises(tp.PassFailure, match=r"BuildTimeout: .*not done in 0\.5 s .*: raise it") as caught:
        compiled(Chain(6), pass_through_build_failures=True)
    assert "the fault is not yours" not in str(caught.value)
    words = r"becomes 2 engines: they are cut before %relu_1 \(.*test_build.py:\d+\), since building took longer"
    with pytest.raises(tp.UserError, match=words):
        compiled(Chain(6), require_full_compilation=True)


def test_one_engine_of_too_many_nodes_is_asked_for() -> None:
    pipeline = "decompose,lower,annotate,partition{min-block-size=1,max-segment-nodes=4},convert,build,splice"
    with pytest.raises(tp.UserError, match=r"becomes 3 engines: it has 9 op nodes, and one engine would have more"):
        tp.compile(Chain(9), [X], pipeline=pipeline, require_full_compilation=True)


def test_a_cut_is_an_option_of_partition() -> None:
    pipeline = tp.Pipeline.parse("decompose,annotate,partition{min-block-size=1,cut-before=[tanh,sigmoid_1]}")
    assert tp.Pipeline.parse(str(pipeline)) == pipeline
    report = tp.PassManager(pipeline, [tp.Verify()]).run(tp.trace(Chain(6), [X]))
    assert [segment.nodes for segment in report.program.segments] == [
        ("relu", "sigmoid"),
        ("tanh", "relu_1"),
        ("sigmoid_1", "tanh_1"),
    ]


def test_no_limit(slow: Callable[[int], None]) -> None:
    assert tp.Settings.from_options({"build_seconds": "0"}).build_seconds == 0
    assert tp.Settings.from_texts(["build_seconds=2.5"]).build_seconds == 2.5
    assert compiled(Chain(6), build_seconds=0).report.coverage == 1
    for value in (-1, "soon", True, float("inf"), float("nan")):
        with pytest.raises(tp.UserError, match="build_seconds"):
            tp.Settings.from_options({"build_seconds": value})


def test_progress_shows_the_seconds_and_the_segment(slow: Callable[[int], None]) -> None:
    slow(4)
    program, ctx, _ = converted(Chain(6), build_seconds=2.5)
    seen: list[str] = []
    Build().run(program, replace(ctx, progress=lambda text, done, total: seen.append(text)))
    assert "build segment-00: Determining refit engines" in seen
    assert "build segment-00: Determining refit engines, 2 s" in seen


def test_those_who_see_no_progress_are_told_of_long_builds(
    slow: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slow(4)
    monkeypatch.setattr(threads, "FIRST_WORD_SECONDS", 0.3)
    compiled(Chain(6), build_seconds=1)
    said = [record.message for record in caplog.records if "building" in record.message]
    assert said[0].startswith("the engine of segment-00 has been building for ")
    assert "after 1 (build_seconds) it is split" in said[0]


def test_a_builder_that_crashes_costs_the_node_that_it_crashes_on(
    monkeypatch: pytest.MonkeyPatch, copies: None
) -> None:
    def build(network: Any, *args: Any, **options: Any) -> Any:
        if "tanh_1" in network.layer_nodes.values():
            faulthandler.disable()
            os.kill(os.getpid(), signal.SIGSEGV)
        return build_engine(network, *args, **options)

    monkeypatch.setattr(threads, "build_engine", build)
    model = Chain(9)
    module = compiled(model, build_seconds=60)
    assert [row.node for row in module.report.ledger if str(row.verdict) == "failed"] == ["tanh_1"]
    assert "SIGSEGV" in module.report.notes[0]
    assert module(X).equal(model(X))


def test_stopping_ends_the_build_at_once(slow: Callable[[int], None]) -> None:
    slow(4)
    program, ctx, _ = converted(Chain(6), build_seconds=0)
    started = time.monotonic()
    with pytest.raises(Cancelled):
        Build().run(program, replace(ctx, cancelled=lambda: time.monotonic() - started > 0.5))
    assert time.monotonic() - started < 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("build-")]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_without_copies_the_limit_holds_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(network: Any, *args: Any, **options: Any) -> Any:
        while network.size > 4:
            time.sleep(0.01)
            if options["cancelled"]():
                raise Cancelled("late")
        return build_engine(network, *args, **options)

    monkeypatch.setattr(threads, "build_engine", build)
    monkeypatch.setattr(threads, "can_copy", lambda: False)
    assert [record.ops for record in compiled(Chain(6)).report.segments] == [3, 3]


@pytest.mark.parametrize(("answer", "copies"), [(0, False), (3, True)], ids=["a GPU in use", "no GPU in use"])
def test_a_process_that_uses_a_gpu_is_not_copied(answer: int, copies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    home, builders = os.getpid(), set()

    def build(network: Any, *args: Any, **options: Any) -> Any:
        builders.add(os.getpid())
        return build_engine(network, *args, **options)

    def library(name: str) -> Any:
        assert name == "libcuda.so.1"
        return SimpleNamespace(cuDeviceGetCount=lambda count: answer)

    monkeypatch.setattr(threads, "build_engine", build)
    monkeypatch.setattr(copied, "ctypes", SimpleNamespace(CDLL=library, byref=ctypes.byref, c_int=ctypes.c_int))
    program, ctx, notes = converted(TwoChains())
    assert all(segment.engine for segment in Build().run(program, ctx).segments)
    assert not notes
    assert (home in builders) is not copies


def test_errors_come_from_another_process() -> None:
    for error in (BuildError("segment-00", ("no runner",)), BuildTimeout("segment-00", 2.5)):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.errors) == (type(error), str(error), error.errors)
