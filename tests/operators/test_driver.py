"""The driver notices what it is there to notice: wrong values, refusals, random numbers, crashes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from trt_passes.compiler.tensorrt.loader import available

from tests.operators import workers
from tests.operators.dynamic import dynamic_outcome
from tests.operators.orders import in_order
from tests.operators.outcome import Kind, Outcome
from tests.operators.samples import Sample, sample_of, samples
from tests.operators.second_opinions import second_opinion
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


def test_samples_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no samples today")

    monkeypatch.setattr(workers, "samples", fails)
    assert [trial.outcome.kind for trial in run_tasks([Task("sum", torch.float32, 4, 2)], 1)] == [Kind.NOT_APPLICABLE]


def test_a_crash_while_samples_are_made_ends_one_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str, dtype: torch.dtype, most: int) -> Iterator[Sample]:
        if name == "sum":
            os.kill(os.getpid(), signal.SIGKILL)
        return samples(name, dtype, most)

    monkeypatch.setattr(workers, "samples", made)
    trials = list(run_tasks([Task("sum", torch.float32, 2, 0), Task("nn.functional.relu", torch.float32, 1, 0)], 1))
    assert [(trial.task.operator, trial.outcome.kind) for trial in trials] == [
        ("sum", Kind.NOT_APPLICABLE),
        ("nn.functional.relu", Kind.RIGHT),
    ]


def test_the_corner_where_the_exporter_knows_another_rank_is_left_out() -> None:
    outcome = dynamic_outcome(sample(torch.squeeze, torch.randn(5, 1, 4)))
    assert outcome.kind is Kind.RIGHT


def test_tensors_that_cannot_be_copied_alone_are_no_sample() -> None:
    part = torch.arange(20.0)[:10]
    outcome = dynamic_outcome(sample(lambda x: x.as_strided((2, 2), (1, 2), 10) + 1, part))
    assert outcome.kind is Kind.NOT_APPLICABLE


def test_what_is_searched_in_stays_sorted() -> None:
    made = sample_of("searchsorted", torch.float32, 0, torch.searchsorted, (torch.arange(3.0), torch.ones(2)), {})
    sequence, values = in_order(made, [torch.tensor([0.0, 1, 2, 0, 1, 2]), torch.tensor([3.0, 1.0])])
    assert sequence.tolist() == [0, 0, 1, 1, 2, 2]
    rows = torch.tensor([2.0, 0.0, 1.0])
    options = {"sorter": rows.argsort()}
    made = sample_of("searchsorted", torch.float32, 0, torch.searchsorted, (rows, torch.tensor([3.0, 1.0])), options)
    sequence, values, sorter = in_order(made, [torch.cat([rows, rows]), values, torch.arange(6)])
    assert sequence[sorter].tolist() == [0, 0, 1, 1, 2, 2]


def test_the_place_of_one_of_equal_values() -> None:
    values = torch.tensor([[3.0, 1.0, 1.0], [2.0, 5.0, 2.0]])
    expected = torch.tensor([1, 0])
    assert settled(values, torch.tensor([2, 2]), expected).equal(expected)
    assert settled(values, torch.tensor([0, 2]), expected).tolist() == [0, 2]


def test_a_second_opinion_is_asked_where_eager_rounds() -> None:
    tensors = (torch.randn(5, 10).half(), torch.randn(5, 5, 5).half(), torch.randn(5, 5, 10).half())
    made = sample_of("addbmm", torch.float16, 0, torch.addbmm, tensors, {"beta": 0.6, "alpha": 0.2})
    expected = torch.addbmm(*tensors, beta=0.6, alpha=0.2)
    other = second_opinion(made, tensors, expected)
    exact = torch.addbmm(*(tensor.double() for tensor in tensors), beta=0.6, alpha=0.2)
    assert other.dtype is torch.float16
    assert (other - exact).abs().max() < (expected - exact).abs().max()
    assert second_opinion(sample(torch.relu, tensors[0]), tensors[:1], expected) is None


def test_shrinking_to_a_width_of_one_reads_the_rows_that_it_should() -> None:
    x = torch.randn(2, 2, 2, 2)
    function = torch.ops.aten._upsample_bilinear2d_aa.vec
    arguments = (x, None, False, [1.7, 0.9])
    made = sample_of("_upsample_bilinear2d_aa", torch.float32, 0, function, arguments, {})
    opinion = second_opinion(made, [x], function(*arguments))
    turned = function(x.mT, None, False, [0.9, 1.7]).mT
    torch.testing.assert_close(opinion, turned)
