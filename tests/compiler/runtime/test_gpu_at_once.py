"""Modules that come, go, fail and capture while the GPU, or another thread, is still at work."""

from __future__ import annotations

import copy
import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from torch.fx import GraphModule
from trt_passes.compiler.runtime.cuda_graphs.recorder import Recorder

from tests.marks import GPU

pytestmark = GPU

LONG = 400_000_000
"""Clock cycles: some tenths of a second, in which the host goes on."""


class Selected(nn.Module):
    """Two engines with a selection between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.kthvalue(self.first(x).relu() * 2, 2, dim=-1, keepdim=True)[0] + x).tanh()


class Counted(nn.Module):
    """Counts its calls, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return (torch.relu(x) + torch.rand_like(x)).tanh() * 2 + self.calls


def compiled(model: nn.Module, **options: Any) -> GraphModule:
    torch.manual_seed(0)
    rows = tp.Input(min_shape=(1, 64), opt_shape=(8, 64), max_shape=(64, 64))
    chosen = {"min_block_size": 1, "executor": "tensorrt", "torch_executed_ops": {"aten.kthvalue"}, **options}
    return tp.compile(model.eval(), [rows], **chosen).cuda()


def selected(**options: Any) -> GraphModule:
    torch.manual_seed(0)
    return compiled(Selected(), **options)


def cuda(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, 64, generator=torch.Generator().manual_seed(seed)).cuda()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def in_threads(*works: Callable[[], None]) -> None:
    """Run functions at once; the first of their errors, if any, is raised here."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                work()
                torch.cuda.current_stream().synchronize()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@contextmanager
def repeated(work: Callable[[], object]) -> Iterator[None]:
    """Meanwhile, another thread does something again and again."""
    done = threading.Event()

    def loop() -> None:
        while not done.is_set():
            work()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("graphs", [False, True])
def test_a_module_may_go_while_the_gpu_runs_it(graphs: bool) -> None:
    module, x = selected(cuda_graphs=graphs), cuda(8)
    expected = module(x).clone()
    torch.cuda.synchronize()
    torch.cuda._sleep(LONG)
    found = module(x)
    del module
    gc.collect()
    noise = [torch.full((1 << 20,), float(number), device="cuda") for number in range(64)]
    torch.cuda.synchronize()
    close(found, expected)
    assert len(noise) == 64


def test_a_thread_may_end_while_the_gpu_runs_its_engines() -> None:
    module, x, results = selected(), cuda(8), list[Tensor]()
    expected = module(x).clone()
    torch.cuda.synchronize()

    def work() -> None:
        module(x)
        torch.cuda._sleep(LONG)
        results.append(module(x))

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    torch.cuda.synchronize()
    for found in results:
        close(found, expected)


def test_modules_capture_at_once() -> None:
    modules = [selected(cuda_graphs=True, cuda_graph_limit=16) for _ in range(4)]
    plain = selected()
    expected = {rows: plain(cuda(rows)) for rows in range(1, 9)}
    torch.cuda.synchronize()

    def work(module: GraphModule) -> Callable[[], None]:
        def run() -> None:
            for _ in range(2):
                for rows, result in expected.items():
                    close(module(cuda(rows)), result)

        return run

    in_threads(*map(work, modules))
    assert [(module.cuda_graphs.reason, len(module.cuda_graphs)) for module in modules] == [(None, 8)] * 4


def test_engines_are_loaded_while_another_module_captures() -> None:
    graphed, others = selected(cuda_graphs=True, cuda_graph_limit=32), [selected() for _ in range(6)]
    expected = {rows: others[0](cuda(rows)) for rows in range(1, 25)}
    torch.cuda.synchronize()

    def captures() -> None:
        for rows, result in expected.items():
            close(graphed(cuda(rows)), result)

    def loads() -> None:
        for other in others:
            close(other(cuda(3)), expected[3])

    in_threads(captures, loads)
    assert graphed.cuda_graphs.reason is None
    assert len(graphed.cuda_graphs) == 24


def test_a_thread_that_waits_for_the_gpu_breaks_nothing() -> None:
    module, plain = selected(cuda_graphs=True), selected()
    expected = [plain(cuda(rows)) for rows in range(1, 9)]
    torch.cuda.synchronize()

    def wait() -> None:
        # CUDA refuses to wait for a GPU on which somebody captures, and may end the capture.
        with suppress(RuntimeError):
            torch.cuda.synchronize()

    with warnings.catch_warnings(), repeated(wait):
        warnings.simplefilter("ignore")
        found = [module(cuda(rows)) for rows in range(1, 9)]
    for result, wanted in zip(found, expected, strict=True):
        close(result, wanted)


def test_a_call_that_fails_before_a_capture_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    module, plain, x = compiled(Counted(), cuda_graphs=True), compiled(Counted()), cuda(8)
    call, calls = Recorder.call, list[int]()

    def fails(self: Recorder, module: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("no memory")
        return call(self, module)

    monkeypatch.setattr(Recorder, "call", fails)
    torch.cuda.manual_seed(3)
    with pytest.warns(RuntimeWarning, match="the GPU has not enough memory for them"):
        found = module(x)
    torch.cuda.manual_seed(3)
    close(found, plain(x))
    assert module.calls.item() == 1


@pytest.mark.parametrize("graphs", [False, True])
def test_warm_up_draws_no_random_numbers(graphs: bool) -> None:
    module, plain, x = compiled(Counted(), cuda_graphs=graphs), compiled(Counted()), cuda(8)
    torch.cuda.manual_seed(3)
    module.warm_up()
    found = module(x)
    torch.cuda.manual_seed(3)
    close(found, plain(x))
    assert module.calls.item() == 1


def test_the_gpu_as_default_device(tmp_path: Any) -> None:
    plain, x = selected(), cuda(8)
    torch.manual_seed(0)
    model = Selected()
    with torch.device("cuda"):
        module = compiled(model)
        assert module.report.verdicts == plain.report.verdicts
        tp.save(module, tmp_path / "model.pt2")
        loaded = tp.load(tmp_path / "model.pt2").cuda()
        close(module(x), plain(x))
        close(loaded(x), plain(x))
        close(copy.deepcopy(module)(x), plain(x))
