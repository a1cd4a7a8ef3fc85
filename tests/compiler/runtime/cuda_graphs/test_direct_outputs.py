"""Which graphs write results to new tensors, with a recorder whose graphs compute on the CPU; no GPU needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from trt_passes.compiler.runtime.cuda_graphs import direct_outputs
from trt_passes.compiler.runtime.cuda_graphs.direct_outputs import DirectOutputs
from trt_passes.compiler.runtime.cuda_graphs.recorder import CannotCapture
from trt_passes.compiler.runtime.engine.engine import Execution

SHAPE = (512, 1024)


class Recorder:
    """One engine with two outputs; its results are the first, which is large, a view of it, and the second."""

    def __init__(self) -> None:
        self.own = [torch.zeros(SHAPE), torch.zeros(2)]
        addresses = [tensor.data_ptr() for tensor in self.own]
        self.execution = Execution(None, [], addresses, None, (torch.Size(SHAPE), torch.Size((2,))))
        self.contexts = [{(0, 7): self.execution}]
        self.recorded, self.fails, self.ignores = 0, False, False

    def record(self, module: Any) -> tuple[Any, Any]:
        if self.fails:
            raise CannotCapture("the capture failed")
        self.recorded += 1
        given, self.execution.given_outputs = self.execution.given_outputs, {}
        large, small = [given.get(i, tensor.clone()) for i, tensor in enumerate(self.own)]
        if self.ignores:
            large = large.clone()
        graph = SimpleNamespace(replay=lambda: large.add_(1))
        return graph, {"large": large, "view": large.view(-1), "small": small}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def direct(recorder: Any) -> DirectOutputs:
    large, small = recorder.own
    return DirectOutputs(recorder, [large, large.view(-1), small])


def tensors() -> list[Tensor]:
    return [torch.zeros(SHAPE), torch.zeros(SHAPE).view(-1), torch.zeros(2)]


def test_addresses_that_come_again_get_a_graph(recorder: Recorder) -> None:
    graphs, first, second = direct(recorder), tensors(), tensors()
    assert graphs.positions == [0]
    found = [graphs.graph_for(None, item) for item in (first, second, first, second, first)]  # type: ignore[arg-type]
    assert found[:2] == [None, None]
    assert found[2] is found[4] is not found[3]
    assert (recorder.recorded, len(graphs)) == (2, 2)
    for graph, results in found[2:]:  # type: ignore[misc]
        graph.replay()
        assert [result is None for result in results] == [True, False, False]
    assert (first[0].mean(), second[0].mean(), recorder.own[0].mean()) == (2, 1, 0)


def test_other_results_are_those_of_the_graph(recorder: Recorder) -> None:
    graphs, new = direct(recorder), tensors()
    graphs.graph_for(None, new)  # type: ignore[arg-type]
    graph, results = graphs.graph_for(None, new)  # type: ignore[arg-type,misc]
    graph.replay()
    assert results[1].data_ptr() == new[0].data_ptr()
    assert results[2].data_ptr() not in {recorder.own[1].data_ptr(), new[2].data_ptr()}


def test_no_more_graphs_than_a_few(recorder: Recorder) -> None:
    graphs, many = direct(recorder), [tensors() for _ in range(6)]
    for _ in range(3):
        for item in many:
            graphs.graph_for(None, item)  # type: ignore[arg-type]
    assert recorder.recorded == len(graphs) == 4


def test_addresses_are_not_remembered_without_end(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_outputs, "_REMEMBERED", 2)
    graphs, many = direct(recorder), [tensors() for _ in range(5)]
    for _ in range(2):
        for item in many:
            graphs.graph_for(None, item)  # type: ignore[arg-type]
    assert len(graphs) == 2


@pytest.mark.parametrize("problem", ["fails", "ignores"])
def test_results_are_copied_for_good_where_that_does_not_work(recorder: Recorder, problem: str) -> None:
    graphs, item = direct(recorder), tensors()
    setattr(recorder, problem, True)
    assert [graphs.graph_for(None, item) for _ in range(4)] == [None] * 4  # type: ignore[arg-type]
    assert graphs.positions == []
    assert recorder.execution.given_outputs == {}


def test_what_no_engine_wrote_and_what_is_small_is_copied(recorder: Recorder) -> None:
    large, small = recorder.own
    elsewhere = torch.zeros(SHAPE)
    given: Any = recorder
    assert DirectOutputs(given, [small, elsewhere, large.t(), large[:, :4], 3, None]).positions == []
