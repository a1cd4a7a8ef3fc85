"""CUDA graphs, the runtime cache, weight streaming and saved files on a real GPU."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from torch.fx import GraphModule
from trt_passes.compiler.runtime.cuda_graphs import graph_capture

from tests.marks import GPU

pytestmark = GPU

LEFT = {"aten.kthvalue", "aten.arange", "aten.add", "aten.sum"}
BATCH = tp.Input(min_shape=(1, 8), opt_shape=(4, 8), max_shape=(32, 8))


class Islands(nn.Module):
    """Engines between selections; PyTorch reads a weight and a constant, and makes a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = torch.kthvalue(torch.relu(self.first(x)) * 3, 2, dim=-1, keepdim=True)[0] * self.scale
        rows = torch.arange(x.shape[0], device=x.device)[:, None]
        h = torch.kthvalue(h + rows + x.new_tensor([0.5]), 3, dim=-1, keepdim=True)[0]
        return {"y": self.last(h * torch.ones_like(x)), "h": h}


class Counter(nn.Module):
    """A buffer and an argument that are written to."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor, total: Tensor) -> Tensor:
        self.calls.add_(1)
        total.add_(x.sum())
        return torch.relu(x) * 2 + torch.tanh(x) + self.calls


class Unique(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.unique((torch.relu(x) * 4 + 1).round() - 3)


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(torch.relu(x) + torch.rand_like(x)) * 3


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same weights in any order of tests: some random ones amplify TF32's rounding beyond `close`."""
    torch.manual_seed(0)


def compiled(model: nn.Module, inputs: list[Any], **options: Any) -> GraphModule:
    torch.manual_seed(0)
    chosen = {"min_block_size": 1, "disable_tf32": True, "executor": "tensorrt", "torch_executed_ops": LEFT, **options}
    return tp.compile(model.eval(), inputs, **chosen).cuda()


def graphed(model: nn.Module, inputs: list[Any], **options: Any) -> GraphModule:
    return compiled(model, inputs, cuda_graphs=True, **options)


def close(found: Any, expected: Any) -> None:
    # TensorRT-RTX multiplies float32 matrices in TF32 on this GPU, also where it is told not to.
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def cuda(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).cuda()


def test_islands_and_engines_are_one_graph() -> None:
    model = Islands()
    module = graphed(model, [BATCH])
    model.cuda()
    kept = []
    for size in (4, 7, 4, 7, 1, 4):
        x = cuda(size, 8, seed=len(kept))
        kept.append((module(x), model(x)))
    assert module.cuda_graphs.reason is None
    assert len(module.cuda_graphs) == 3
    for found, expected in kept:
        close(found, expected)


def test_the_least_recently_used_capture_goes_first() -> None:
    module = graphed(Islands(), [BATCH], cuda_graph_limit=2)
    for size in (1, 2, 1, 3):
        module(cuda(size, 8))
    assert [tuple(item.inputs[0].shape) for item in module.cuda_graphs.captures] == [(1, 8), (3, 8)]
    close(module(cuda(2, 8)), without_graphs(module, cuda(2, 8)))


def without_graphs(module: GraphModule, x: Tensor) -> Any:
    """What the module gives without CUDA graphs."""
    plain = copy.copy(module)
    plain.cuda_graphs = None
    return plain(x)


def test_what_is_written_to_is_written_once_per_call() -> None:
    module, model = graphed(Counter(), [BATCH, torch.zeros(())]), Counter().cuda()
    total, expected = torch.zeros((), device="cuda"), torch.zeros((), device="cuda")
    for repeat in range(4):
        x = cuda(3 + repeat % 2, 8, seed=repeat)
        close(module(x, total), model(x, expected))
        close(total, expected)
    assert module.calls.item() == 4
    assert len(module.cuda_graphs) == 2


class Cache(nn.Module):
    """A cache that is written in place, with a number between it and the input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor, step: float, cache: Tensor) -> Tensor:
        y = self.layer(x).relu() * step
        cache.add_(y)
        return cache - y * 2


@pytest.mark.parametrize("by_name", [False, True])
def test_a_cache_given_after_a_number_is_written_in_place(by_name: bool) -> None:
    model = Cache()
    module = graphed(model, [torch.randn(4, 8), 0.5, torch.zeros(4, 8)])
    model.cuda()
    cache, expected = torch.zeros(4, 8, device="cuda"), torch.zeros(4, 8, device="cuda")
    for repeat in range(5):
        x = cuda(4, 8, seed=repeat)
        result = module(cache=cache, step=0.5, x=x) if by_name else module(x, 0.5, cache)
        close(result, model(x, 0.5, expected))
        close(cache, expected)


class Large(nn.Module):
    """One engine; 2 and 1 MB of results with one that is small, and a view that PyTorch makes."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        y = torch.sigmoid(x.repeat(1, 8)) * 2
        z = torch.tanh(x.repeat(1, 4)) * 2
        return y, z, torch.relu(x[0]) * 3, torch.kthvalue(z, 2, dim=-1)[0]


def test_large_results_are_written_where_they_are_kept() -> None:
    module = graphed(Large(), [torch.randn(1024, 64)])
    kept: list[Any] = []
    for repeat in range(30):
        x = cuda(1024, 64, seed=repeat)
        kept.append((x, module(x)))
        # First one result is kept while the next is computed, then none, then all.
        del kept[: -1 if repeat < 10 else len(kept) if repeat < 20 else 0]
        for given, results in kept:
            for found, expected in zip(results, Large()(given), strict=True):
                close(found, expected)
    (capture,) = module.cuda_graphs.captures
    assert capture.direct.positions == [0, 1]
    assert 2 <= len(capture.direct) <= 4


def test_memory_that_another_stream_reads_is_not_written_to() -> None:
    module = graphed(Large(), [torch.randn(1024, 64)])
    x, other, side = cuda(1024, 64), cuda(1024, 64, seed=1), torch.cuda.Stream()
    for _ in range(6):
        y = module(x)[0]
    expected = y.clone()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)
        copy_of_y = y.clone()
    y.record_stream(side)
    del y
    for _ in range(4):
        module(other)
    torch.cuda.synchronize()
    assert torch.equal(copy_of_y, expected)


def test_random_numbers_follow_the_seed() -> None:
    x = cuda(4, 8)
    plain, module = compiled(Noise(), [BATCH]), graphed(Noise(), [BATCH])
    torch.cuda.manual_seed(3)
    expected = [plain(x) for _ in range(3)]
    torch.cuda.manual_seed(3)
    close([module(x) for _ in range(3)], expected)
    assert len(module.cuda_graphs) == 1
    assert not torch.equal(expected[0], expected[1])


def test_what_cannot_be_captured_is_told_and_runs() -> None:
    module = graphed(Unique(), [BATCH])
    assert any("without CUDA graphs" in note for note in module.report.notes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(3):
            x = cuda(5, 8, seed=seed)
            close(module(x), Unique()(x))
    assert ["_unique2" in str(item.message) for item in caught if item.category is RuntimeWarning] == [True]
    assert "_unique2" in module.cuda_graphs.reason


def test_a_capture_that_fails_is_told_and_the_process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    module = graphed(Unique(), [BATCH])
    monkeypatch.setattr(graph_capture, "module_obstacle", lambda module, device: None)
    x = cuda(5, 8)
    with pytest.warns(RuntimeWarning, match="the capture failed"):
        close(module(x), Unique()(x))
    close(module(x), Unique()(x))
    torch.rand(3, device="cuda")
    other = graphed(Noise(), [BATCH])
    other(x)
    assert len(other.cuda_graphs) == 1
    torch.cuda.synchronize()


def test_tensors_that_move_are_noticed() -> None:
    model = Islands()
    module, x = graphed(model, [BATCH]), cuda(4, 8)
    module(x)
    with torch.no_grad():
        module.scale.mul_(2)
    close(module(x), without_graphs(module, x))
    module.scale.data = module.scale.data * 3
    close(module(x), without_graphs(module, x))
    assert len(module.cuda_graphs) == 1


def test_grad_modes() -> None:
    module, x = graphed(Islands(), [BATCH]), cuda(4, 8)
    with torch.inference_mode():
        first = module(x)
    results = [module(x), module(x.clone().requires_grad_())]
    with torch.no_grad():
        results.append(module(x))
    for result in results:
        close(result, first)
        assert not any(tensor.requires_grad or tensor.is_inference() for tensor in result.values())
    assert len(module.cuda_graphs) == 1


def test_outputs_are_reused_on_request() -> None:
    module = graphed(Islands(), [BATCH], reuse_outputs=True)
    first = module(cuda(4, 8, seed=1))
    second = module(cuda(4, 8, seed=2))
    assert first["y"].data_ptr() == second["y"].data_ptr()
    close(second, without_graphs(module, cuda(4, 8, seed=2)))
    other = module(cuda(5, 8, seed=3))
    module(cuda(4, 8, seed=4))
    close(other, without_graphs(module, cuda(5, 8, seed=3)))


def test_streams_and_threads_have_captures_of_their_own() -> None:
    module = graphed(Islands(), [BATCH], cuda_graph_limit=16)
    plain = copy.copy(module)
    plain.cuda_graphs = None
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for repeat in range(20):
                    x = cuda(1 + (index + repeat) % 2, 8, seed=index * 100 + repeat)
                    close(module(x), plain(x))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(module.cuda_graphs) == 8


def test_a_capture_of_the_users_own_takes_the_engines() -> None:
    module, x = graphed(Islands(), [BATCH]), cuda(4, 8)
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    plain = copy.copy(module)
    plain.cuda_graphs = None
    with torch.cuda.stream(side):
        for _ in range(3):
            plain(x)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=side):
        results = module(x)
    graph.replay()
    close(results, plain(x))
    assert len(module.cuda_graphs) == 0


def test_other_signatures() -> None:
    class Nested(nn.Module):
        def forward(self, pair: tuple[Tensor, Tensor], *, extra: Tensor | None = None) -> list[Any]:
            y = torch.relu(pair[0]) + torch.tanh(pair[1])
            return [y, (y * 2 if extra is None else y * extra,)]

    x, y = cuda(4, 8), cuda(4, 8, seed=1)
    module = graphed(Nested(), [(x.cpu(), y.cpu())])
    for _ in range(2):
        close(module((x, y)), Nested()((x, y)))
    assert len(module.cuda_graphs) == 1


@pytest.mark.filterwarnings("ignore:TensorRT engines run in PyTorch")
def test_inputs_on_the_cpu_are_no_reason_to_give_up() -> None:
    module, x = graphed(nn.Tanh(), [BATCH], executor="auto"), cuda(4, 8)
    close(module(x.cpu()), module(x).cpu())
    assert len(module.cuda_graphs) == 1


def test_views_that_begin_anywhere() -> None:
    model = Islands().eval()
    module = compiled(model, [BATCH])
    x = cuda(6, 8)
    close(module(x[1:]), model.cuda()(x[1:]))


@pytest.mark.parametrize("strategy", ["lazy", "eager", "none"])
def test_kernel_specialization(strategy: str) -> None:
    model = Islands().eval()
    module = compiled(model, [BATCH], dynamic_shapes_kernel_specialization_strategy=strategy)
    model.cuda()
    for size in (3, 9):
        close(module(cuda(size, 8)), model(cuda(size, 8)))


@pytest.mark.parametrize("budget", [None, 0, 1 << 40])
def test_weight_streaming(budget: int | None) -> None:
    model = nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 512)).eval()
    module = compiled(
        model, [torch.randn(4, 512)], enable_weight_streaming=True, weight_streaming_budget=budget, executor="tensorrt"
    )
    close(module(cuda(4, 512)), model.cuda()(cuda(4, 512)))
    (segment,) = module.segments.values()
    engine = segment.engine_on(torch.device("cuda", 0))._engines[0][1]
    assert engine.streamable_weights_size > 0
    if budget is not None:
        assert engine.weight_streaming_budget_v2 == min(budget, engine.streamable_weights_size)


CHILD = """
import sys, time, warnings, torch, trt_passes as tp
path, cache = sys.argv[1:]
module = tp.load(path, executor="tensorrt", runtime_cache_path=cache).cuda()
torch.zeros(1, device="cuda")
started = time.perf_counter()
module.warm_up()
print(time.perf_counter() - started)
print(module(torch.ones(8, 8, device="cuda"))["y"].sum().item())
"""


def test_the_runtime_cache_spares_the_next_process_the_compilation(tmp_path: Path) -> None:
    model = Islands()
    module = compiled(model, [BATCH])
    tp.save(module, tmp_path / "model.pt2")
    answers = []
    for _ in range(2):
        command = [sys.executable, "-c", CHILD, str(tmp_path / "model.pt2"), str(tmp_path / "kernels.bin")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "runtime_cache_path" not in done.stderr
        answers.append([float(line) for line in done.stdout.split()])
        assert (tmp_path / "kernels.bin").stat().st_size > 0
    (cold, first), (warm, second) = answers
    print(f"warm-up without a runtime cache {cold:.3f} s, with one {warm:.3f} s")
    assert first == pytest.approx(second, rel=1e-4)
    assert warm < cold
    assert first == pytest.approx(model.cuda()(torch.ones(8, 8, device="cuda"))["y"].sum().item(), rel=1e-3)


def test_a_damaged_runtime_cache_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "kernels.bin"
    path.write_bytes(b"no kernels")
    module = compiled(Islands(), [BATCH], runtime_cache_path=path)
    with pytest.warns(RuntimeWarning, match="is damaged, or of another GPU"):
        module(cuda(4, 8))
    assert path.read_bytes() != b"no kernels"


def test_what_was_compiled_on_a_gpu_is_saved_for_every_machine(tmp_path: Path) -> None:
    model, x = Islands().eval().cuda(), cuda(4, 8)
    module = compiled(model, [x])
    close(module(x), model(x))
    tp.save(module, tmp_path / "model.pt2")
    tp.save(module, tmp_path / "model.ts")
    loaded = tp.load(tmp_path / "model.pt2")
    assert {tensor.device.type for tensor in loaded.parameters()} == {"cpu"}
    close(tp.load(tmp_path / "model.pt2", executor="pytorch")(x.cpu()), tree_cpu(model(x)))
    close(loaded.cuda()(x), model(x))
    close(torch.jit.load(tmp_path / "model.ts", map_location="cuda")(x), model(x))
    with pytest.raises(tp.UserError, match="executor='tensorrt' cannot run segment-00: the inputs are on the CPU"):
        torch.export.load(tmp_path / "model.pt2").module()(x.cpu())


def tree_cpu(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in values.items()}


def test_warm_up_does_what_the_first_call_would() -> None:
    module = graphed(Islands(), [BATCH])
    module.warm_up()
    assert [tuple(item.inputs[0].shape) for item in module.cuda_graphs.captures] == [(4, 8)]
    x = cuda(4, 8)
    torch.cuda.synchronize()
    started = time.perf_counter()
    module(x)
    torch.cuda.synchronize()
    assert time.perf_counter() - started < 0.1
