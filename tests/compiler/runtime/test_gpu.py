"""Engines on a real GPU: built by the real passes, held against PyTorch on the same inputs."""

from __future__ import annotations

import copy
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.fx import GraphModule
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.pass_base import Context
from trt_passes.compiler.runtime.engine_graph import segments_of
from trt_passes.compiler.runtime.save import load
from trt_passes.compiler.runtime.saving.save import save
from trt_passes.compiler.settings import Settings
from trt_passes.passes.annotate import Annotate
from trt_passes.passes.build import Build
from trt_passes.passes.convert import Convert
from trt_passes.passes.partition import Partition
from trt_passes.passes.splice import Splice

from tests.marks import GPU

pytestmark = GPU


class Pointwise(nn.Module):
    """x f32[B,8] -> f32[B,8] and f32[B,8]."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.sigmoid(torch.relu(x) * 2 + 1)
        return y, torch.tanh(y) - x


class Sorted(nn.Module):
    """Two engines with a sort between them, which stays in PyTorch."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sort(torch.relu(x * 3), dim=-1)[0]
        return torch.tanh(y) + torch.sigmoid(y)


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.relu(x) + torch.tanh(y)


BATCH = Dim("batch", min=1, max=32)


def compiled(
    model: nn.Module, *args: Tensor, dynamic_shapes: Any = None, executor: str = "tensorrt", **options: Any
) -> GraphModule:
    """The model compiled on the CPU, as on a build machine, with every op that has a converter in an engine."""
    exported = torch.export.export(model.eval(), args, dynamic_shapes=dynamic_shapes).run_decompositions({})
    settings = {"min_block_size": 1, "executor": executor, "disable_tf32": True, **options}
    ctx = Context(settings=Settings.from_options(settings))
    program = Program(exported)
    for item in (Annotate(), Partition(), Convert(), Build(), Splice()):
        program = item.run(program, ctx)
    assert program.segments, "the test needs an engine"
    assert program.compiled is not None
    return program.compiled


def dynamic(model: nn.Module, executor: str = "tensorrt") -> GraphModule:
    return compiled(
        model, torch.randn(4, 8), dynamic_shapes=({0: BATCH},), executor=executor, torch_executed_ops={"aten.sort"}
    )


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def cuda(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).cuda()


def test_a_static_engine_runs() -> None:
    module, x = compiled(Pointwise(), torch.randn(4, 8)), cuda(4, 8)
    results = module(x)
    close(results, Pointwise()(x))
    assert all(result.is_cuda for result in results)


def test_one_engine_runs_for_every_size_of_its_range() -> None:
    module = dynamic(Pointwise())
    for size in (1, 32, 7, 7, 4, 1):
        x = cuda(size, 8, seed=size)
        close(module(x), Pointwise()(x))


def test_earlier_results_stay_what_they_were() -> None:
    module = dynamic(Pointwise())
    inputs = [cuda(5, 8, seed=seed) for seed in range(4)]
    results = [module(x) for x in inputs]
    for x, result in zip(inputs, results, strict=True):
        close(result, Pointwise()(x))


def test_several_engines_run_with_pytorch_between_them() -> None:
    module = dynamic(Sorted())
    assert len(segments_of(module)) == 2
    for size in (3, 11):
        close(module(cuda(size, 8)), Sorted()(cuda(size, 8)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.int64])
def test_dtypes(dtype: torch.dtype) -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x * y + x

    x, y = cuda(4, 8).mul(4).to(dtype), cuda(4, 8, seed=1).mul(4).to(dtype)
    module = compiled(Sum(), x.cpu(), y.cpu())
    torch.testing.assert_close(module(x, y), Sum()(x, y), rtol=2e-2, atol=2e-2)


def test_strided_inputs_are_read_as_pytorch_reads_them() -> None:
    module, base = dynamic(Pointwise()), cuda(8, 16)
    for x in (base[:, ::2], base[:, :8], base[:, 8:].t().contiguous().t(), base[:1, :8].expand(6, 8)):
        close(module(x), Pointwise()(x))


class BetweenEngines(nn.Module):
    """A convolution with channels last, and a view of its result that PyTorch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.layer = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).relu().permute(0, 2, 3, 1).reshape(-1, 4)
        return self.layer(torch.kthvalue(y, 2, dim=-1, keepdim=True)[0] + y).relu()


def test_views_of_what_engines_return() -> None:
    torch.manual_seed(0)
    model = BetweenEngines().eval().to(memory_format=torch.channels_last)
    x = cuda(2, 3, 4, 4).to(memory_format=torch.channels_last)
    left = {"aten.kthvalue", "aten.view", "aten.permute"}
    module = compiled(model, x.cpu(), torch_executed_ops=left).cuda()
    model.cuda()
    for given in (x, x.contiguous(), x.mT):
        torch.testing.assert_close(module(given), model(given), rtol=2e-2, atol=2e-2)


def test_negated_views_are_read_with_their_sign() -> None:
    module, x = dynamic(Pointwise()), torch._neg_view(cuda(4, 8))
    close(module(x), Pointwise()(x))


def test_reused_results_may_be_inputs_of_the_next_call() -> None:
    class Step(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x.flip(0) * 2) + 1

    module, x = compiled(Step(), torch.randn(512, 512), reuse_outputs=True), cuda(512, 512)
    expected = x
    for _ in range(4):
        x, expected = module(x), Step()(expected)
        close(x, expected)


@pytest.mark.parametrize("runs_before", [False, True])
def test_copies_reuse_outputs_of_their_own(runs_before: bool) -> None:
    module, x, y = compiled(Pointwise(), torch.randn(4, 8), reuse_outputs=True), cuda(4, 8), cuda(4, 8, seed=1)
    if runs_before:
        module(x)
    twins = [module, copy.copy(module), copy.deepcopy(module)]
    results = [twin(given) for twin, given in zip(twins, (x, y, x + y), strict=True)]
    for found, given in zip(results, (x, y, x + y), strict=True):
        close(found, Pointwise()(given))


def test_inputs_that_do_not_fit_are_named() -> None:
    module = dynamic(Pointwise())
    with pytest.raises(UserError, match=r"'x' has size 33 in dimension 0 .*takes 1 to 32"):
        module(cuda(33, 8))
    with pytest.raises(UserError, match=r"'x' has size 9 in dimension 1 .*takes 8"):
        module(cuda(4, 9))
    with pytest.raises(UserError, match="'x' is f16, but the engine takes f32"):
        module(cuda(4, 8).half())
    with pytest.raises(UserError, match="inputs are on the CPU"):
        module(torch.randn(4, 8))
    close(module(cuda(4, 8)), Pointwise()(cuda(4, 8)))


def test_inputs_on_different_devices_are_named() -> None:
    module = compiled(TwoInputs(), torch.randn(4, 8), torch.randn(4, 8))
    with pytest.raises(UserError, match="'y' is on cpu"):
        module(cuda(4, 8), torch.randn(4, 8))


def test_sizes_that_contradict_each_other_are_named() -> None:
    module = compiled(TwoInputs(), torch.randn(4, 8), torch.randn(4, 8), dynamic_shapes=({0: BATCH}, {0: BATCH}))
    close(module(cuda(5, 8), cuda(5, 8, seed=1)), TwoInputs()(cuda(5, 8), cuda(5, 8, seed=1)))
    with pytest.raises(UserError, match="'y' has size 6 in dimension 0, but the other inputs make it 5"):
        module(cuda(5, 8), cuda(6, 8))


def test_auto_uses_tensorrt_on_the_gpu_and_pytorch_on_the_cpu() -> None:
    module = dynamic(Pointwise(), executor="auto")
    close(module(cuda(4, 8)), Pointwise()(cuda(4, 8)))
    segment = segments_of(module)["segment_00"]
    assert segment.runner._loaded
    with pytest.warns(RuntimeWarning, match="inputs are on the CPU"):
        close(module(cuda(4, 8).cpu()), Pointwise()(cuda(4, 8).cpu()))


def test_a_damaged_engine_falls_back_with_the_words_of_tensorrt() -> None:
    module = dynamic(Pointwise(), executor="auto")
    runner = segments_of(module)["segment_00"].runner
    runner.engine = torch.zeros_like(runner.engine)
    with pytest.warns(RuntimeWarning, match="refuses it"):
        close(module(cuda(4, 8)), Pointwise()(cuda(4, 8)))


def test_threads_run_the_same_engine_at_once() -> None:
    module = dynamic(Pointwise())
    results: dict[int, tuple[Tensor, Tensor]] = {}
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for repeat in range(20):
                    x = cuda(1 + (index + repeat) % 32, 8, seed=index)
                    results[index] = module(x)
                torch.cuda.current_stream().synchronize()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for index, found in results.items():
        close(found, Pointwise()(cuda(1 + (index + 19) % 32, 8, seed=index)))


def test_work_goes_to_the_current_stream() -> None:
    module, x = dynamic(Pointwise()), cuda(8, 8)
    module(x)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        module(x)  # a stream's first call makes its execution context, which waits for the GPU
        side.synchronize()
        torch.cuda._sleep(500_000_000)
        started = torch.cuda.Event()
        results = module(x)
        started.record()
    assert not started.query(), "the call waited for the GPU, or ran on another stream"
    side.synchronize()
    close(results, Pointwise()(x))


def test_an_engine_can_be_captured_in_a_cuda_graph() -> None:
    module, x = compiled(Pointwise(), torch.randn(4, 8)), cuda(4, 8)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(side):
        for _ in range(3):
            module(x)
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph, stream=side):
        results = module(x)
    x.copy_(cuda(4, 8, seed=9))
    graph.replay()
    torch.cuda.synchronize()
    close(results, Pointwise()(x))


def test_empty_batches() -> None:
    module = compiled(Pointwise(), torch.randn(4, 8), dynamic_shapes=({0: Dim("batch", min=0, max=8)},))
    if segments_of(module)["segment_00"].runner.spec.inputs[0].min_shape[0] > 0:
        pytest.skip("torch.export found that the batch is not empty")
    assert [tuple(result.shape) for result in module(cuda(2, 8)[:0])] == [(0, 8), (0, 8)]


def test_save_and_load(tmp_path: Path) -> None:
    module = dynamic(Sorted())
    save(module, tmp_path / "model.pt2")
    for loaded in (load(tmp_path / "model.pt2"), torch.export.load(tmp_path / "model.pt2").module()):
        for size in (2, 9):
            close(loaded(cuda(size, 8)), Sorted()(cuda(size, 8)))


def test_the_exported_program_runs_tensorrt_too() -> None:
    module = dynamic(Sorted())
    exported = torch.export.export(module, (torch.randn(4, 8),), dynamic_shapes=({0: BATCH},))
    close(exported.module()(cuda(5, 8)), Sorted()(cuda(5, 8)))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus() -> None:
    module = dynamic(Pointwise())
    for device in ("cuda:1", "cuda:0", "cuda:1"):
        x = cuda(6, 8).to(device)
        results = module(x)
        close(results, Pointwise()(x))
        assert {str(result.device) for result in results} == {device}


def test_host_overhead() -> None:
    """A call costs tens of microseconds on the host, whatever the size of the weights (measured: see benchmarks)."""
    module, x = dynamic(Pointwise()), cuda(4, 8)
    for _ in range(20):
        module(x)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(500):
        module(x)
    microseconds = (time.perf_counter() - started) / 500 * 1e6
    torch.cuda.synchronize()
    assert microseconds < 300, f"{microseconds:.0f} us per call"
