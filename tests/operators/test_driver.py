"""The driver notices what it is there to notice: wrong values, refusals, random numbers, crashes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from trt_passes.compiler.tensorrt.loader import available

from tests.operators import workers
from tests.operators.dynamic import dynamic_outcome
from tests.operators.outcome import Kind, Outcome
from tests.operators.samples import Sample, sample_of, samples
from tests.operators.ties import settled
from tests.operators.trial import agree, static_outcome
from tests.operators.workers import Task, run_tasks

pytestmark = pytest.mark.skipif(available() is None, reason="TensorRT makes the networks")


def sample(function: Callable[..., Any], *args: Any) -> Sample:
    return sample_of("relu", torch.float32, 0, function, args, {})


def test_right() -> None:
    outcome = static_outcome(sample(torch.relu, torch.randn(3, 4)))
    assert outcome == Outcome(Kind.RIGHT, targets=("aten.relu",))


def test_refused_with_its_code() -> None:
    outcome = static_outcome(sample(torch.bernoulli, torch.full((3,), 0.5)))
    assert (outcome.kind, outcome.codes) == (Kind.REFUSED, ("TP207",))


def test_eager_and_export_have_their_own_ends() -> None:
    assert static_outcome(sample(torch.mm, torch.ones(2), torch.ones(2))).kind is Kind.NOT_APPLICABLE
    assert static_outcome(sample(lambda x: x[int(x.sum())], torch.ones(2, 2) / 9)).kind is Kind.NOT_EXPORTED
    assert static_outcome(sample(lambda x: x.clone(), torch.ones(2))).kind is not Kind.WRONG


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (torch.ones(2), torch.zeros(2)),
        (torch.ones(2), torch.ones(2, 1)),
        (torch.ones(2), torch.ones(2, dtype=torch.float16)),
        ((torch.ones(2),), (torch.ones(2), torch.ones(2))),
        (2, 3),
    ],
)
def test_differences_are_noticed(actual: Any, expected: Any) -> None:
    with pytest.raises(AssertionError):
        agree(actual, expected)


def test_only_equal_values_may_change_places() -> None:
    values = torch.tensor([2.0, 1.0, 2.0, 3.0])
    expected = torch.tensor([1, 0, 2, 3])
    assert settled(values, torch.tensor([1, 2, 0, 3]), expected).equal(expected)
    for other in ([0, 1, 2, 3], [1, 0, 0, 3], [1, 0, 2, 4]):
        assert settled(values, torch.tensor(other), expected).tolist() == other


def test_wrong_values_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.operators.trial.eager", lambda sample, tensors: torch.zeros(3))
    assert static_outcome(sample(torch.exp, torch.ones(3))).kind is Kind.WRONG


def test_all_axes_vary() -> None:
    outcome = dynamic_outcome(sample(torch.add, torch.randn(3, 4), torch.randn(4)))
    assert (outcome.kind, outcome.axes) == (Kind.RIGHT, "all")


def test_a_crash_ends_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    deadly = [item.index for item in samples("sum", torch.float32, 4)][1]

    def outcome(item: Sample, dynamic: bool) -> Outcome:
        if item.index == deadly:
            os.kill(os.getpid(), signal.SIGSEGV)
        return Outcome(Kind.RIGHT)

    monkeypatch.setattr(workers, "_outcome", outcome)
    trials = list(run_tasks([Task("sum", torch.float32, 4, 0)], 1))
    kinds = [trial.outcome.kind for trial in trials]
    assert kinds == [Kind.RIGHT, Kind.WRONG, Kind.RIGHT, Kind.RIGHT]
    assert "ended the process" in trials[1].outcome.detail
