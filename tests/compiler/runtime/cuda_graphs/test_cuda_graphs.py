"""Signatures, limits and reasons of CUDA graphs, with captures that compute when they are replayed; no GPU needed."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from trt_passes.compiler.runtime.cuda_graphs import cuda_graphs, graph_capture
from trt_passes.compiler.runtime.cuda_graphs.cuda_graphs import CudaGraphs
from trt_passes.compiler.runtime.cuda_graphs.graph_capture import Capture
from trt_passes.compiler.runtime.cuda_graphs.recorder import CannotCapture, Recorder


class Module:
    """Stands for a compiled module: x, y -> {"sum": x + y, "twice": [2x]}; `scale` is what graphs have of it."""

    def __init__(self) -> None:
        self.state = 0

    def state_for(self, device: torch.device) -> int:
        return self.state


def run(module: Any, x: Tensor, y: Tensor | float = 1.0, flag: Any = None) -> dict[str, Any]:
    return {"sum": x + y, "twice": [x * 2]}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The CPU as a GPU: a capture remembers its call, and a replay makes it on the tensors that it was given."""
    current = SimpleNamespace(stream=7, captured=[], finished=[], problem=None)

    def captured(module: Any, run: Any, leaves: Any, structure: Any, device: Any, pool: Any) -> Capture:
        if current.problem is not None:
            raise CannotCapture(current.problem)
        given = [item for item in leaves if isinstance(item, Tensor)]
        static = [torch.empty_like(item) for item in given]

        def call() -> Any:
            tensors = iter(static)
            flat = [next(tensors) if isinstance(item, Tensor) else item for item in leaves]
            args, kwargs = (flat, {}) if structure is None else pytree.tree_unflatten(flat, structure)
            return run(module, *args, **kwargs)

        outputs, output_structure = pytree.tree_flatten(call())

        def replay() -> None:
            for output, result in zip(outputs, pytree.tree_leaves(call()), strict=True):
                if isinstance(output, Tensor):
                    output.copy_(result)

        shape = tuple(given[0].shape)
        current.captured.append((current.stream, shape))
        stream = SimpleNamespace(synchronize=lambda: current.finished.append(shape))
        graph = SimpleNamespace(replay=replay)
        return Capture(graph, static, outputs, output_structure, (), module.state_for(device), stream)

    monkeypatch.setattr(cuda_graphs, "captured", captured)
    monkeypatch.setattr(cuda_graphs, "_can_replay_on", lambda device: True)
    monkeypatch.setattr(cuda_graphs, "stream_address", lambda device: current.stream)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    return current


def graphs(limit: int = 8, reuse_outputs: bool = False) -> CudaGraphs:
    return CudaGraphs(limit, reuse_outputs)


def test_one_capture_per_signature(gpu: SimpleNamespace) -> None:
    call, module = graphs(), Module()
    for size in (3, 4, 3, 4, 3):
        x, y = torch.randn(size, 2), torch.randn(size, 2)
        torch.testing.assert_close(call(module, run, (x, y), {}), run(module, x, y))
    assert gpu.captured == [(7, (3, 2)), (7, (4, 2))]
    assert len(call) == 2


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((torch.ones(3, 2).double(),), {}),
        ((torch.ones(2, 3),), {}),
        ((torch.ones(3, 2), 2.0), {}),
        ((torch.ones(3, 2), 1), {}),
        ((torch.ones(3, 2), torch.ones(2)), {}),
        ((torch.ones(3, 2),), {"flag": True}),
        ((torch.ones(3, 2),), {"y": torch.ones(3, 2)}),
        ((), {"x": torch.ones(3, 2)}),
    ],
)
def test_other_calls_are_other_signatures(gpu: SimpleNamespace, args: Any, kwargs: Any) -> None:
    call, module = graphs(), Module()
    for _ in range(2):
        call(module, run, (torch.ones(3, 2), 1.0), {})
        torch.testing.assert_close(call(module, run, args, kwargs), run(module, *args, **kwargs))
    assert len(call) == 2


@pytest.mark.parametrize(
    "shaped",
    [
        lambda x: x,
        lambda x: (x,),
        lambda x: [x, x + 1],
        lambda x: [x, (x + 1,)],
        lambda x: ((x, None), {"a": [x, 3]}),
        lambda x: (x, 2.5, None),
        lambda x: {},
    ],
)
@pytest.mark.parametrize("reuse", [False, True])
def test_results_have_the_structure_of_the_models(gpu: SimpleNamespace, shaped: Any, reuse: bool) -> None:
    call, x = graphs(reuse_outputs=reuse), torch.randn(3)
    for _ in range(2):
        found = call(Module(), lambda module, x: shaped(x), (x,), {})
        assert pytree.tree_structure(found) == pytree.tree_structure(shaped(x))
        torch.testing.assert_close(pytree.tree_leaves(found), pytree.tree_leaves(shaped(x)))


def test_streams_have_captures_of_their_own(gpu: SimpleNamespace) -> None:
    call, x = graphs(), torch.ones(3, 2)
    for stream in (7, 8, 7, 8):
        gpu.stream = stream
        call(Module(), run, (x,), {})
    assert gpu.captured == [(7, (3, 2)), (8, (3, 2))]


def test_the_least_recently_used_capture_goes_first_when_it_is_done(gpu: SimpleNamespace) -> None:
    call, module = graphs(limit=2), Module()
    for size in (1, 2, 1, 3):
        call(module, run, (torch.ones(size),), {})
    assert [tuple(item.inputs[0].shape) for item in call.captures] == [(1,), (3,)]
    assert gpu.finished == [(2,)]


def test_results_stay_what_they_were_unless_reuse_is_asked_for(gpu: SimpleNamespace) -> None:
    for reuse in (False, True):
        call, module = graphs(reuse_outputs=reuse), Module()
        first = call(module, run, (torch.ones(3),), {})
        second = call(module, run, (torch.zeros(3),), {})
        assert (first["sum"].data_ptr() == second["sum"].data_ptr()) is reuse
        assert first["sum"][0] == (1 if reuse else 2)


@pytest.mark.parametrize("reuse", [False, True])
def test_results_are_written_in_place_only_where_they_would_be_copied(gpu: SimpleNamespace, reuse: bool) -> None:
    call, module = graphs(reuse_outputs=reuse), Module()
    call(module, run, (torch.ones(3),), {})
    assert not call.has_direct_outputs
    call.captures[0].direct = Direct()  # type: ignore[assignment]
    assert call.has_direct_outputs is not reuse
    expected = run(module, torch.full((3,), 5.0))
    found = call(module, run, (torch.full((3,), 5.0),), {})
    if reuse:
        torch.testing.assert_close(found, expected)
    else:
        torch.testing.assert_close(found["sum"], torch.full((3,), 7.0))
        torch.testing.assert_close(found["twice"], [torch.full((3,), 9.0)])


class Direct:
    """Has a graph that writes 7 to the first result, and the second, which is to be copied, to memory of its own."""

    def graph_for(self, module: Any, outputs: Any) -> Any:
        own = torch.empty(3)
        return SimpleNamespace(replay=lambda: (outputs[0].fill_(7), own.fill_(9))), [None, own]


def test_a_module_that_changed_is_captured_again(gpu: SimpleNamespace) -> None:
    call, module, x = graphs(), Module(), torch.ones(3)
    call(module, run, (x,), {})
    module.state = 1
    call(module, run, (x,), {})
    call(module, run, (x,), {})
    assert (len(gpu.captured), len(call), gpu.finished) == (2, 1, [(3,)])
    call.clear()
    assert len(call) == 0


def test_what_cannot_be_captured_runs_with_one_warning(gpu: SimpleNamespace) -> None:
    call, module, x = graphs(), Module(), torch.ones(3)
    gpu.problem = "%nonzero gives a tensor whose size depends on data"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            torch.testing.assert_close(call(module, run, (x,), {}), run(module, x))
    assert [str(item.message) for item in caught] == [f"this module runs without CUDA graphs, because {gpu.problem}."]
    assert call.reason == gpu.problem


def test_a_call_that_cannot_be_captured_does_not_end_graphs_for_others(gpu: SimpleNamespace) -> None:
    call, module, x = graphs(), Module(), torch.ones(3)
    with pytest.warns(RuntimeWarning, match="a call runs without CUDA graphs, because an argument is a object"):
        call(module, run, (x, 1.0, object()), {})
    with pytest.warns(RuntimeWarning, match="inputs are on cpu and on meta"):
        graphs()(module, lambda module, x, y: None, (x, torch.ones(3, device="meta")), {})
    call(module, run, (x,), {})
    assert (len(call), call.reason) == (1, None)


def test_tensors_of_other_kinds_run_as_usual(gpu: SimpleNamespace) -> None:
    class Named(Tensor):
        pass

    call, x = graphs(), torch.ones(3).as_subclass(Named)
    with pytest.warns(RuntimeWarning, match="a call runs without CUDA graphs, because an argument is a Named"):
        assert type(call(Module(), run, (x,), {})["sum"]) is Named
    with pytest.raises(CannotCapture, match="an input is sparse"):
        Recorder(run, [torch.ones(3).to_sparse()], None, [], torch.device("cpu"), None)
    call(Module(), run, (torch.ones(3),), {})
    assert (len(call), call.reason) == (1, None)


def test_errors_of_the_call_are_the_callers(gpu: SimpleNamespace) -> None:
    call = graphs()
    with pytest.raises(TypeError):
        call(Module(), run, (torch.ones(3), 1, 2, 3), {})
    with pytest.raises(RuntimeError, match="must match"):
        call(Module(), run, (torch.ones(3), torch.ones(4)), {})
    assert len(call) == 0


def test_inputs_that_are_written_to_are_written_back(gpu: SimpleNamespace) -> None:
    def accumulate(module: Any, x: Tensor, total: Tensor) -> Tensor:
        total.add_(x.sum())
        return x + 1

    call, module, total = graphs(), Module(), torch.zeros(())
    call(module, accumulate, (torch.ones(3), total), {})
    call.captures[0].written = [1]
    total.zero_()
    for expected in (3, 6):
        call(module, accumulate, (torch.ones(3), total), {})
        assert total == expected


class Cache(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor, step: Any, cache: Tensor, mask: Any = None) -> Tensor:
        cache.add_(self.layer(x))
        return cache * 2


X = torch.ones(2, 4)


@pytest.mark.parametrize(
    ("args", "kwargs", "position"),
    [
        ((X, 2.0, X.clone()), {}, 1),
        ((X, None, X.clone()), {}, 1),
        ((X, X.clone(), X.clone()), {}, 2),
        ((X,), {"cache": X.clone(), "step": X.clone()}, 1),
        ((), {"cache": X.clone(), "step": 1, "x": X}, 0),
    ],
)
def test_written_inputs_are_found_among_the_tensors_of_a_call(args: Any, kwargs: Any, position: int) -> None:
    order = inspect.signature(Cache.forward).bind(None, *args, **kwargs).arguments
    program = torch.export.export(Cache().eval(), tuple(order.values())[1:])
    module = tp.compile(program, min_block_size=1, executor="pytorch")
    static = [item for item in pytree.tree_leaves((args, kwargs)) if isinstance(item, Tensor)]
    assert graph_capture._written(module, (args, kwargs), static) == [position]


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return torch.relu(x) + self.calls


def test_calls_before_a_capture_leave_no_trace_even_if_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    module, waits = tp.compile(Counter(), [X], min_block_size=1, executor="pytorch"), list[str]()
    side, current = (
        SimpleNamespace(name=name, wait_stream=lambda other, name=name: waits.append(f"{name} for {other.name}"))
        for name in ("side", "current")
    )
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: current)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())

    def fails(module: Any) -> None:
        module(X)
        raise torch.OutOfMemoryError

    recorder = SimpleNamespace(side=side, inputs=[X.clone()], device=X.device, call=fails)
    with pytest.raises(torch.OutOfMemoryError):
        graph_capture._warm_up(module, recorder, [X])  # type: ignore[arg-type]
    assert module.calls.item() == 0
    assert waits == ["side for current", "current for side"]


def test_each_call_before_a_capture_begins_where_the_call_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what fills up, such as a cache, has a place for each of them."""
    module, found = tp.compile(Counter(), [X], min_block_size=1, executor="pytorch"), list[float]()
    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())

    def call(module: Any) -> None:
        found.append(module.calls.item())
        module(X)

    module(X)
    recorder = SimpleNamespace(side=stream, inputs=[X.clone()], device=X.device, call=call)
    graph_capture._warm_up(module, recorder, [X])  # type: ignore[arg-type]
    assert found == [1, 1, 1]
    assert module.calls.item() == 1


def test_calls_without_tensors_and_on_the_cpu_run_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    call, module = graphs(), Module()
    torch.testing.assert_close(call(module, run, (torch.ones(3),), {}), run(module, torch.ones(3)))
    assert call(module, lambda module: 3, (), {}) == 3
    assert (len(call), call.reason) == (0, None)
