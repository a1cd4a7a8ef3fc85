"""The backend of torch.compile, compared with eager PyTorch; the reference executor runs what TensorRT would."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import warnings
import weakref
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

from tests.models import TORCH_RELEASE, ConvNet, Counter, Sorted, seeded

installed = pytest.mark.skipif(
    not entry_points(group="torch_dynamo_backends", name="trt_passes"),
    reason="the package is importable here but not installed, so torch.compile does not know its name",
)
AFTER_THE_BREAK = "graph-01" if TORCH_RELEASE < (2, 15) else "graph-02"
"""The number is that of dynamo's frame; PyTorch 2.15 numbers the call that breaks the graph, too."""
OPTIONS: dict[str, Any] = {"executor": "reference", "min_block_size": 1, "pass_through_build_failures": True}


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def backend(**options: Any) -> tp.TorchCompileBackend:
    return tp.TorchCompileBackend(**{**OPTIONS, **options})


class Broken(nn.Module):
    """A graph break between two layers: x f32[B,8] -> f32[B,8]."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        torch._dynamo.graph_break()
        return torch.relu(self.second(y))


class Cached(nn.Module):
    """Writes a row of a buffer and reads it up to there: x f32[4], position -> f32[4]."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 4)
        self.register_buffer("cache", torch.zeros(8, 4))

    def forward(self, x: torch.Tensor, position: int) -> torch.Tensor:
        self.cache[position] = torch.tanh(self.project(x))
        return self.cache[: position + 1].sum(0)


class Scaled(nn.Module):
    """Numbers beside tensors: x f32[B,4], scale, k -> f32[B,4]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4, eps=1e-3)

    def forward(self, x: torch.Tensor, scale: float, k: int) -> torch.Tensor:
        return torch.relu(self.norm(x)) * scale + k


@torch.no_grad()
def test_static_shapes() -> None:
    model, chosen = seeded(ConvNet()), backend()
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(torch.compile(model, backend=chosen)(x), model(x))
    (graph,) = chosen.graphs
    assert graph.report.coverage == 1.0
    assert {"features.0", "features.3", "head", ""} <= {row.module for row in graph.report.ledger.rows}


@torch.no_grad()
def test_a_size_that_changes_becomes_dynamic_and_is_recompiled_once() -> None:
    model, chosen = seeded(Sorted()), backend()
    compiled = torch.compile(model, backend=chosen)
    for batch in (3, 5, 7, 4):
        x = torch.randn(batch, 8)
        torch.testing.assert_close(compiled(x), model(x))
    assert [(graph.name, graph.recompile, graph.builds) for graph in chosen.graphs] == [
        ("graph-00", 0, 1),
        ("graph-00-1", 1, 1),
    ]
    assert chosen.recompiles == 1
    assert torch._dynamo.utils.counters["trt_passes"] == {"graphs": 2, "recompiles": 1, "builds": 2}


@torch.no_grad()
def test_a_range_grows_where_none_was_declared_and_holds_where_one_was() -> None:
    model, chosen = seeded(Sorted()), backend()
    compiled = torch.compile(model, backend=chosen, dynamic=True)
    for batch in (3, 8, 9, 40):
        x = torch.randn(batch, 8)
        torch.testing.assert_close(compiled(x), model(x))
    (graph,) = chosen.graphs
    assert graph.builds == 3, "3 and 8 fit 8, 9 needs 32, 40 needs 128"
    torch._dynamo.reset()
    chosen = backend()
    compiled = torch.compile(model, backend=chosen)
    x = torch.randn(3, 8)
    torch._dynamo.mark_dynamic(x, 0, min=2, max=64)
    for example in (x, torch.randn(64, 8)):
        torch.testing.assert_close(compiled(example), model(example))
    (graph,) = chosen.graphs
    assert graph.builds == 1
    assert graph.report.program.inputs == (tp.Input(min_shape=(2, 8), opt_shape=(3, 8), max_shape=(64, 8), name="x"),)


@torch.no_grad()
def test_every_graph_of_a_graph_break_has_a_dump_folder(tmp_path: Path) -> None:
    model, chosen = seeded(Broken()), backend(dump_dir=tmp_path / "dump")
    compiled = torch.compile(model, backend=chosen)
    for batch in (2, 3):
        x = torch.randn(batch, 8)
        torch.testing.assert_close(compiled(x), model(x))
    folders = sorted(path.name for path in (tmp_path / "dump").iterdir())
    assert folders == ["graph-00", "graph-00-1", AFTER_THE_BREAK, f"{AFTER_THE_BREAK}-1"]
    assert all((tmp_path / "dump" / name / "run.json").is_file() for name in folders)
    assert "p_first_weight" in (tmp_path / "dump/graph-00/00-input/graph.txt").read_text()
    assert "test_torch_compile.py" in (tmp_path / "dump" / AFTER_THE_BREAK / "ledger.jsonl").read_text()


@torch.no_grad()
def test_dump_folders_of_an_earlier_run_go_and_nothing_else_does(tmp_path: Path) -> None:
    x = torch.randn(2, 8)
    torch.compile(seeded(Broken()), backend=backend(dump_dir=tmp_path))(x)
    (tmp_path / "graph-08").mkdir()
    (tmp_path / "graph-09").mkdir()
    (tmp_path / "graph-09/run.json").write_text("{}")
    (tmp_path / f"{AFTER_THE_BREAK}-notes").symlink_to(tmp_path / AFTER_THE_BREAK)
    (tmp_path / f"{AFTER_THE_BREAK}-1").symlink_to(tmp_path / "graph-09")
    kept = {f"{AFTER_THE_BREAK}-1", f"{AFTER_THE_BREAK}-notes", "graph-08", "graph-09"}
    torch._dynamo.reset()
    torch.compile(seeded(Sorted()), backend=backend(dump_dir=tmp_path))(x)
    assert {path.name for path in tmp_path.iterdir()} == {"graph-00", *kept}
    torch.compile(seeded(Broken()), backend=backend(dump_dir=tmp_path))(x)
    assert {path.name for path in tmp_path.iterdir()} > {"graph-00", *kept}, "another model of the same run"


@torch.no_grad()
def test_files_of_others_in_an_earlier_dump_stay(tmp_path: Path) -> None:
    x = torch.randn(2, 8)
    torch.compile(seeded(Broken()), backend=backend(dump_dir=tmp_path))(x)
    (tmp_path / AFTER_THE_BREAK / "notes.txt").write_text("mine")
    torch._dynamo.reset()
    torch.compile(seeded(Sorted()), backend=backend(dump_dir=tmp_path))(x)
    assert [path.name for path in (tmp_path / AFTER_THE_BREAK).iterdir()] == ["notes.txt"]


@torch.no_grad()
def test_a_graph_need_not_hold_the_modules_that_stay_in_pytorch() -> None:
    model, chosen = seeded(Broken()), backend(torch_executed_modules={"second"})
    x = torch.randn(2, 8)
    torch.testing.assert_close(torch.compile(model, backend=chosen)(x), model(x))
    assert [graph.reason is None or "TensorRT" in graph.reason for graph in chosen.graphs] == [True, True]


@torch.no_grad()
def test_weights_are_the_models_own_tensors() -> None:
    model, chosen = seeded(Sorted()), backend()
    torch.compile(model, backend=chosen)(torch.randn(2, 8))
    exported = chosen.graphs[0].report.program.exported
    own = {name: tensor.data_ptr() for name, tensor in model.named_parameters()}
    assert {name: tensor.data_ptr() for name, tensor in exported.state_dict.items()} == own


@pytest.mark.skipif(TORCH_RELEASE >= (2, 15), reason="PyTorch 2.15 holds it itself, with backend='eager' too")
def test_a_graph_lets_go_of_the_model() -> None:
    model = seeded(Sorted())
    with torch.no_grad():
        torch.compile(model, backend=backend())(torch.randn(2, 8))
    weight = weakref.ref(model.first[0].weight)
    del model
    torch._dynamo.reset()
    gc.collect()
    assert weight() is None


@torch.no_grad()
def test_new_weights_are_seen() -> None:
    model, chosen = seeded(Sorted()), backend()
    compiled = torch.compile(model, backend=chosen)
    x = torch.randn(2, 8)
    compiled(x)
    model.first[0].weight.mul_(2)
    torch.testing.assert_close(compiled(x), model(x))
    model.load_state_dict({name: tensor + 0.1 for name, tensor in model.state_dict().items()}, assign=True)
    torch.testing.assert_close(compiled(x), model(x))
    weights = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(weights * 2, model.parameters())
    torch.testing.assert_close(compiled(x), model(x))
    assert sum(graph.builds for graph in chosen.graphs) == 4


@torch.no_grad()
@torch._dynamo.config.patch(recompile_limit=1)
def test_weights_that_keep_changing_are_left_to_pytorch() -> None:
    model, chosen = seeded(Sorted()), backend()
    compiled = torch.compile(model, backend=chosen)
    x = torch.randn(2, 8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(4):
            model.first[0].weight.mul_(0.9)
            torch.testing.assert_close(compiled(x), model(x))
    assert chosen.graphs[0].reason == "its parameters changed 2 times, and engines hold them"
    assert len([item for item in caught if "left to PyTorch" in str(item.message)]) == 1


@torch.no_grad()
def test_a_buffer_that_was_changed_is_an_input_from_then_on() -> None:
    model, chosen = seeded(ConvNet()), backend()
    compiled = torch.compile(model, backend=chosen)
    x = torch.randn(2, 3, 16, 16)
    compiled(x)
    for _ in range(3):
        model.features[1].running_mean.add_(1)
        torch.testing.assert_close(compiled(x), model(x))
    (graph,) = chosen.graphs
    assert graph.builds == 2
    assert [item.name for item in graph.report.program.inputs] == ["x", "features_1_running_mean"]


@torch.no_grad()
def test_buffers_that_the_model_writes_to_are_written_to() -> None:
    model = Counter().eval()
    eager, chosen = copy.deepcopy(model), backend()
    compiled = torch.compile(model, backend=chosen)
    for _ in range(3):
        torch.testing.assert_close(compiled(torch.ones(3)), eager(torch.ones(3)))
        torch.testing.assert_close(model.count, eager.count)
    model.count = torch.full((3,), 7.0)
    eager.count = torch.full((3,), 7.0)
    torch.testing.assert_close(compiled(torch.ones(3)), eager(torch.ones(3)))
    torch.testing.assert_close(model.count, eager.count)
    assert [graph.builds for graph in chosen.graphs] == [1]


@torch.no_grad()
def test_a_cache_at_a_position_that_changes() -> None:
    model = seeded(Cached())
    eager, chosen = copy.deepcopy(model), backend()
    compiled = torch.compile(model, backend=chosen)
    for position in range(6):
        x = torch.randn(4)
        torch.testing.assert_close(compiled(x, position), eager(x, position))
        torch.testing.assert_close(model.cache, eager.cache)
    assert all(graph.reason is None for graph in chosen.graphs)
    assert len(chosen.graphs) <= 3, "0, 1 and the rest"


@torch.no_grad()
def test_arguments_that_are_written_to_and_share_memory() -> None:
    def shift(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x.add_(1)
        return torch.relu(y) * 2 + x

    chosen = backend()
    compiled = torch.compile(shift, backend=chosen)
    for one in (lambda t: (t, t.clone()), lambda t: (t[:4], t[:4]), lambda t: (t[:4], t[1:5])):
        tensor = torch.randn(8)
        twin = tensor.clone()
        torch.testing.assert_close(compiled(*one(tensor)), shift(*one(twin)))
        torch.testing.assert_close(tensor, twin)


@torch.no_grad()
@pytest.mark.parametrize("dynamic", [None, True])
def test_numbers(dynamic: bool | None) -> None:
    model, chosen = seeded(Scaled()), backend()
    compiled = torch.compile(model, backend=chosen, dynamic=dynamic)
    for scale, k in ((1.5, 2), (2.5, 3), (3.5, 5)):
        x = torch.randn(4, 4)
        torch.testing.assert_close(compiled(x, scale, k), model(x, scale, k))
    assert all(graph.reason is None for graph in chosen.graphs)


def test_what_needs_gradients_is_left_to_pytorch_and_learns() -> None:
    model, chosen = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU()), backend()
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, backend=chosen)
    x = torch.randn(3, 4)
    with pytest.warns(RuntimeWarning, match=r"graph-00 is left to PyTorch, because its results require grad"):
        compiled(x).sum().backward()
    eager(x).sum().backward()
    torch.testing.assert_close(model[0].weight.grad, eager[0].weight.grad)
    torch.testing.assert_close(model[1].running_mean, eager[1].running_mean)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), eager.eval()(x))
    assert [graph.reason is None for graph in chosen.graphs] == [False, True]


@torch.no_grad()
def test_training_mode_is_left_to_pytorch_with_the_line() -> None:
    model, chosen = nn.Sequential(nn.Linear(4, 4), nn.Dropout()), backend()

    def run(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(torch.relu(x), training=True)

    with pytest.warns(RuntimeWarning, match=r"graph-00 is left .* aten.dropout is in training mode: call model.eval"):
        torch.compile(model, backend=chosen)(torch.randn(2, 4))
    with pytest.warns(RuntimeWarning, match=r"aten.dropout \(.*test_torch_compile.py:\d+\) is in training mode"):
        torch.compile(run, backend=chosen)(torch.randn(2, 4))


@pytest.mark.parametrize("mode", [torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
@torch.no_grad()
def test_modes_of_the_caller(mode: Any) -> None:
    model, chosen = seeded(ConvNet()), backend()
    compiled, x = torch.compile(model, backend=chosen), torch.randn(2, 3, 16, 16)
    for _ in range(2):
        with mode():
            result, expected = compiled(x), model(x)
        assert result.dtype == expected.dtype
        torch.testing.assert_close(result, expected)
    assert [(graph.builds, graph.reason) for graph in chosen.graphs] == [(1, None)]


@torch.no_grad()
def test_a_build_that_fails_falls_back_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    @tp.graph_pass("fail")
    def fail(program: tp.Program, ctx: tp.Context) -> tp.Program:
        raise ValueError("no luck")

    model, x = seeded(Sorted()), torch.randn(2, 8)
    chosen = backend(pipeline=[fail], pass_through_build_failures=False)
    compiled = torch.compile(model, backend=chosen)
    with pytest.warns(
        RuntimeWarning, match="graph-00 is left to PyTorch, because it cannot be compiled: .*no luck"
    ) as caught:
        torch.testing.assert_close((compiled(x), compiled(x)), (model(x), model(x)))
    assert len([item for item in caught if "graph-00" in str(item.message)]) == 1
    torch._dynamo.reset()
    with pytest.raises(tp.PassFailure, match="no luck"):
        torch.compile(model, backend=backend(pipeline=[fail]))(x)


@installed
def test_mistakes_in_options_are_said_as_such() -> None:
    with pytest.raises(tp.UserError, match=r"unknown option 'min_blok'\. Did you mean 'min_block_size'"):
        tp.TorchCompileBackend(min_blok=3)
    compiled = torch.compile(seeded(Sorted()), backend="trt_passes", options={"min_blok": 3})
    with pytest.raises(tp.UserError, match=r"unknown option 'min_blok'\. Did you mean 'min_block_size'"):
        compiled(torch.randn(2, 8))
    compiled = torch.compile(seeded(Sorted()), backend="trt_passes", mode="max-autotune")
    with pytest.raises(tp.UserError, match="mode='max-autotune', which trt_passes has not: use options"):
        compiled(torch.randn(2, 8))


@torch.no_grad()
def test_compile_with_inputs_is_ready_for_their_ranges() -> None:
    model = seeded(Sorted())
    item = tp.Input(min_shape=(2, 8), opt_shape=(4, 8), max_shape=(16, 8))
    compiled = tp.compile(model, [item], ir="torch_compile", **OPTIONS)
    assert [graph.builds for graph in compiled.graphs] == [1]
    for batch in (2, 9, 16):
        x = torch.randn(batch, 8)
        torch.testing.assert_close(compiled(x), model(x))
    assert [graph.builds for graph in compiled.graphs] == [1]


class Squeezed(nn.Module):
    """Drops a dimension of size 1, so that sizes of 1 need a graph of their own: x f32[B,8] -> f32[B,8] or f32[8]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x).squeeze()


@torch.no_grad()
@pytest.mark.parametrize("model", [seeded(Sorted()), Squeezed()])
def test_a_size_of_1_has_a_graph_of_its_own(model: nn.Module) -> None:
    item = tp.Input(min_shape=(1, 8), opt_shape=(4, 8), max_shape=(16, 8))
    compiled = tp.compile(model, [item], ir="torch_compile", **OPTIONS)
    for batch in (2, 16, 1, 1):
        x = torch.randn(batch, 8)
        torch.testing.assert_close(compiled(x), model(x))
    assert [(graph.name, graph.builds) for graph in compiled.graphs] == [("graph-00", 1), ("graph-00-1", 1)]


@installed
def test_by_name_in_a_process_that_does_not_import_the_package() -> None:
    script = """
import torch
x = torch.randn(3, 8)
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8)).eval()
compiled = torch.compile(model, backend="trt_passes", options={"min_block_size": 1, "executor": "reference"})
with torch.no_grad():
    torch.testing.assert_close(compiled(x), model(x))
assert torch._dynamo.utils.counters["trt_passes"]["builds"] == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@torch.no_grad()
@pytest.mark.parametrize("ir", ["torch_compile", "ts", "fx"])
def test_on_a_gpu(ir: str) -> None:
    model = seeded(ConvNet()).cuda()
    item = tp.Input(min_shape=(2, 3, 16, 16), opt_shape=(2, 3, 16, 16), max_shape=(8, 3, 16, 16))
    compiled = tp.compile(model, [item], ir=ir, executor="tensorrt", min_block_size=1, disable_tf32=True)
    for batch in (2, 8, 5):
        x = torch.randn(batch, 3, 16, 16, device="cuda")
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dynamic", [None, True])
def test_an_argument_that_is_called_self_but_for_a_line(dynamic: bool | None) -> None:
    class Model(nn.Module):
        def forward(self, self_: torch.Tensor) -> torch.Tensor:
            return self_.relu() * 2

    compiled = torch.compile(Model(), backend=backend(), dynamic=dynamic)
    x = torch.randn(3, 4)
    torch.testing.assert_close(compiled(x), Model()(x))


def test_graphs_that_a_tensor_class_calls_stay_in_pytorch() -> None:
    doubled = torch.compile(lambda x: torch.relu(x) * 2, backend=backend())

    class Doubled(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return doubled(torch.arange(-2.0, 2.0))

    x = torch.Tensor._make_subclass(Doubled, torch.zeros(4))
    with pytest.warns(RuntimeWarning, match="called by a tensor class's __torch_dispatch__"):
        result = torch.sin(x)
    torch.testing.assert_close(result, torch.tensor([0.0, 0.0, 0.0, 2.0]))


@pytest.mark.parametrize("dynamic", [None, True])
def test_nested_tensors_are_left_to_pytorch(dynamic: bool | None) -> None:
    model, ours = nn.Linear(4, 3).eval(), backend()
    compiled = torch.compile(model, backend=ours, dynamic=dynamic)
    rows = [torch.nested.nested_tensor([torch.randn(n, 4), torch.randn(3, 4)], layout=torch.jagged) for n in (2, 5)]
    with torch.no_grad():
        with pytest.warns(RuntimeWarning, match="an argument is a NestedTensor, which is no plain tensor"):
            found = [compiled(item).values() for item in rows]
        torch.testing.assert_close(found, [model(item.values()) for item in rows])
    assert not any(graph.builds for graph in ours.graphs)


class OfSizes(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


UNPROVED = {
    "last half": (lambda x: x[:, -(x.shape[1] // 2) :] * 2, 4),
    "between": (lambda x: x[:, : 1 + x.shape[1] // 2] + 1, 4),
    "two thirds": (lambda x: x[:, : x.shape[1] // 3 * 2 + 1] * 2, 7),
}


@pytest.mark.parametrize("name", UNPROVED)
@torch.no_grad()
def test_conditions_that_hold_for_all_declared_sizes_are_none(name: str) -> None:
    function, low = UNPROVED[name]
    model, spec = OfSizes(function), tp.Input(min_shape=(2, low), opt_shape=(2, 7), max_shape=(2, 12))
    compiled = tp.compile(model, [spec], ir="torch_compile", **OPTIONS)
    for size in (7, low, 12):
        x = torch.randn(2, size)
        torch.testing.assert_close(compiled(x), model(x))
    assert [graph.builds for graph in compiled.graphs] == [1]


def test_the_condition_that_does_not_hold_is_told() -> None:
    model = OfSizes(lambda x: x[:, 1 + x.shape[1] // 3 :] * 2 if x.shape[1] // 2 != 5 else x)
    spec = tp.Input(min_shape=(2, 4), opt_shape=(2, 7), max_shape=(2, 12))
    with pytest.raises(tp.UserError, match=r"declare: \(?x\.shape\[1\] // 2\)? != 5 must hold: declare ranges inside"):
        tp.compile(model, [spec], ir="torch_compile", **OPTIONS)


@torch.no_grad()
def test_what_an_operator_can_take_at_all_is_no_range() -> None:
    model, chosen = OfSizes(lambda x: x.quantile(0.5, dim=0)), backend()
    compiled = torch.compile(model, backend=chosen, dynamic=True)
    x = torch.randn(5, 3)
    torch.testing.assert_close(compiled(x), model(x))
    assert chosen.graphs[0].report.program.inputs[0].max_shape[0] == 16, "quantile takes 2 ** 24"
