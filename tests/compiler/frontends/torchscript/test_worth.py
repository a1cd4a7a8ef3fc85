"""Engines of TorchScript that are slower than what they replace: timed on a GPU, here with made-up times."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from trt_passes.compiler.frontends.torchscript import blocks, worth
from trt_passes.compiler.settings import Settings

from tests.marks import gpu

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::DeprecationWarning", "ignore::RuntimeWarning")

OPTIONS: dict[str, Any] = {"executor": "pytorch", "min_block_size": 1}
ROWS = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4))


class Counts(nn.Module):
    """State, a number that crosses into the second block, a branch in it, and two results of the first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.calls = nn.Linear(4, 4), nn.Linear(4, 4), 0

    def forward(self, x: Tensor, places: Tensor, scale: float = 0.5) -> tuple[Tensor, int]:
        self.calls += 1
        y = torch.relu(self.a(x)) * scale
        z = torch.tanh(y[places])
        if float(z.sum()) > 0:
            self.calls += 10
            y = x
        return torch.sigmoid(self.b(y + z)).reshape(y.size(0) * 2, 2), self.calls


def timed(
    monkeypatch: pytest.MonkeyPatch, results: list[tuple[float, float]], whole: tuple[float, float] = (1.0, 2.0)
) -> None:
    """Let blocks be timed, with these results in turn, and the module; both functions have to give the same."""

    def times(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
        torch.testing.assert_close(ours(), theirs())
        return results.pop(0)

    monkeypatch.setattr(blocks, "is_timed", lambda *_: True)
    monkeypatch.setattr(blocks, "slower_block", lambda *given: worth.slower_block(*given, times=times))

    def module_times(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
        torch.testing.assert_close(ours(), theirs())
        return whole

    monkeypatch.setattr(blocks, "slower_methods", lambda *given: worth.slower_methods(*given, times=module_times))


@torch.no_grad()
@pytest.mark.parametrize("slow", [(), (0,), (1,), (0, 1)])
def test_blocks_that_are_slower_stay_torchscript(monkeypatch: pytest.MonkeyPatch, slow: tuple[int, ...]) -> None:
    results = [(2.0, 1.0) if number in slow else (1.0, 2.0) for number in range(2)]
    timed(monkeypatch, results)
    places = tp.Input(min_shape=(1,), opt_shape=(3,), max_shape=(6,), dtype=torch.int64)
    script = torch.jit.script(Counts().eval())
    original = copy.deepcopy(script)
    compiled = tp.compile(script, [ROWS, places], **OPTIONS)
    assert not results
    report: Any = compiled.report
    assert len(report.blocks) == 2 - len(slow)
    reasons = [reason for row in report.ledger for reason in row.reasons if reason.code == "TP308"]
    assert bool(reasons) == bool(slow)
    for reason in reasons:
        assert reason.message.startswith("engines take 2.000 ms for a call here, and the TorchScript that they would")
    for rows in (3, 1, 6):
        given = (torch.randn(rows, 4), torch.arange(rows))
        torch.testing.assert_close(compiled(*given), original(*given))


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += x.mean(0)
        return torch.relu(self.a(x)) + self.seen


@torch.no_grad()
def test_a_module_that_is_slower_with_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, [(1.0, 2.0), (1.0, 2.0)], whole=(2.0, 2.0))
    places = tp.Input(min_shape=(1,), opt_shape=(3,), max_shape=(6,), dtype=torch.int64)
    script = torch.jit.script(Counts().eval())
    original = copy.deepcopy(script)
    compiled = tp.compile(script, [ROWS, places], **OPTIONS)
    assert not compiled.report.blocks
    assert "TP308" in {reason.code for row in compiled.report.ledger for reason in row.reasons}
    for rows in (3, 1, 6):  # timing left no trace in the state
        given = (torch.randn(rows, 4), torch.arange(rows))
        torch.testing.assert_close(compiled(*given), original(*given))


@torch.no_grad()
@pytest.mark.parametrize("mine", [1.0, 2.0])
def test_a_whole_model_that_is_slower(monkeypatch: pytest.MonkeyPatch, mine: float) -> None:
    monkeypatch.setattr(worth, "is_timed", lambda *_: True)
    script = torch.jit.script(Layers().eval())
    original, x = copy.deepcopy(script), torch.randn(3, 4)

    def slower(*given: Any) -> str | None:
        def times(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
            assert ours().shape == theirs().shape  # not the same: they share the state, which is kept between
            return mine, 1.5

        return original_of(*given, times=times)

    original_of = worth.slower_whole
    monkeypatch.setattr(worth, "slower_whole", slower)
    compiled = tp.compile(script, [ROWS], **OPTIONS)
    assert hasattr(compiled.report, "whole") is (mine > 1.5)
    if mine > 1.5:
        assert "engines take 2.000 ms for a call here" in compiled.report.whole
    for _ in range(3):  # timing left no trace in the state
        torch.testing.assert_close(compiled(x), original(x))


def test_what_is_timed() -> None:
    compiled = tp.compile(nn.Linear(4, 4).eval(), [ROWS], **OPTIONS)
    cuda, given = torch.device("cuda"), Settings.from_options
    assert not worth.is_timed(compiled, given({}), torch.device("cpu"))
    assert not worth.is_timed(compiled, given({"min_block_size": 1}), cuda)
    assert not worth.is_timed(compiled, given({"executor": "pytorch"}), cuda)
    assert worth.is_timed(compiled, given({}), cuda) is torch.cuda.is_available()


@gpu
@torch.no_grad()
def test_on_a_gpu_engines_are_no_slower_than_the_original() -> None:
    x = torch.randn(3, 4, device="cuda")
    script = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Tanh()).eval().cuda())
    compiled = tp.compile(script, [ROWS])
    for _ in range(30):
        compiled(x), script(x)
    ours, theirs = worth.medians(lambda: compiled(x), lambda: script(x))
    assert ours < 1.3 * theirs
    pytree.tree_map(torch.testing.assert_close, compiled(x), script(x))
