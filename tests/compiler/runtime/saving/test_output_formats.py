"""TorchScript files, bare engines, and files read by other processes."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from trt_passes.compiler.runtime.compiled_segment import CompiledSegment
from trt_passes.compiler.tensorrt import loader

pytestmark = [
    pytest.mark.skipif(loader.available() is None, reason="needs TensorRT"),
    pytest.mark.filterwarnings("ignore:TensorRT engines run in PyTorch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Pair = namedtuple("Pair", ["first", "second"])
BATCH = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(9, 4))
LEFT = {"aten.sort", "aten.arange"}


class Islands(nn.Module):
    """Engines around a sort; sizes are computed, a tensor is made, and there is a constant."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 300), nn.Linear(300, 4)
        self.register_buffer("offset", torch.ones(300))

    def forward(self, x: Tensor, scale: Tensor | None = None) -> dict[str, Tensor]:
        h = torch.sort(torch.relu(self.first(x)) + self.offset)[0]
        rows = torch.arange(x.shape[0], device=x.device)[:, None] + torch.tensor([[0.5]])
        y = self.last(h + rows)
        return {"y": y if scale is None else y * scale, "h": h.reshape(h.shape[0] * 300)}


class Whole(nn.Module):
    """One engine, which takes its arguments in another order than the model."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 8)

    def forward(self, late: Tensor, early: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.linear(early))
        return torch.tanh(h + late), h


def compiled(model: nn.Module, inputs: list[Any], **options: Any) -> Any:
    return tp.compile(model.eval(), inputs, **{"min_block_size": 1, "torch_executed_ops": LEFT, **options})


@pytest.fixture(scope="module")
def islands() -> Any:
    return compiled(Islands(), [BATCH], kwarg_inputs={"scale": torch.tensor(2.0)}, cuda_graphs=True)


@pytest.fixture(scope="module")
def whole() -> Any:
    return compiled(Whole(), [torch.zeros(8), BATCH])


CHILD = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, trt_passes
path, kind = sys.argv[1:]
module = {"load": lambda: trt_passes.load(path), "export": lambda: torch.export.load(path).module(),
          "jit": lambda: torch.jit.load(path)}[kind]()
for size in (2, 9):
    results = module(torch.linspace(-1, 1, size * 4).view(size, 4), scale=torch.tensor(3.0))
    print(results["y"].sum().item(), results["h"].sum().item())
"""


@pytest.mark.parametrize(
    ("name", "kind"), [("m.pt2", "load"), pytest.param("m.pt2", "export", marks=pytest.mark.long), ("m.ts", "jit")]
)
def test_another_process_gets_the_same_answers(islands: Any, name: str, kind: str, tmp_path: Path) -> None:
    tp.save(islands, tmp_path / name)
    command = [sys.executable, "-c", CHILD, str(tmp_path / name), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [float(word) for word in done.stdout.split()]
    expected = []
    for size in (2, 9):
        results = Islands()(torch.linspace(-1, 1, size * 4).view(size, 4), torch.tensor(3.0))
        expected += [results["y"].sum().item(), results["h"].sum().item()]
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_machine_without_tensorrt_loads_and_says_why(islands: Any, tmp_path: Path) -> None:
    tp.save(islands, tmp_path / "m.pt2")
    code = (
        "import sys\n"
        "sys.modules['tensorrt_rtx'] = sys.modules['tensorrt'] = None\n"
        "import torch, trt_passes\n"
        "torch.cuda.is_available = lambda: True\n"
        "from trt_passes.compiler.runtime import runner\n"
        "module = trt_passes.load(sys.argv[1])\n"
        "segment = next(iter(module.segments.values()))\n"
        "print(runner.unavailable(segment.runner.spec, torch.device('cuda', 0)))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m.pt2")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "needs TensorRT" in done.stdout


def test_options_are_saved_and_can_be_chosen_anew(islands: Any, tmp_path: Path) -> None:
    tp.save(islands, tmp_path / "m.pt2")
    assert tp.load(tmp_path / "m.pt2").options == islands.options
    assert tp.load(tmp_path / "m.pt2").cuda_graphs is not None
    loaded = tp.load(tmp_path / "m.pt2", cuda_graphs=False, runtime_cache=tmp_path / "kernels", executor="pytorch")
    assert (loaded.cuda_graphs, loaded.options.executor) == (None, "pytorch")
    assert loaded.options.runtime_cache_path == str(tmp_path / "kernels")
    tp.save(loaded, tmp_path / "again.pt2")
    assert tp.load(tmp_path / "again.pt2").options.runtime_cache_path is None
    with pytest.raises(tp.UserError, match="'cuda_graph' is no option of a compiled module"):
        tp.load(tmp_path / "m.pt2", cuda_graph=True)
    with pytest.raises(tp.UserError, match="'min_block_size' is no option of a compiled module"):
        tp.load(tmp_path / "m.pt2", min_block_size=3)
    with pytest.raises(tp.UserError, match="'cuda_graph_limit' is 0"):
        tp.load(tmp_path / "m.pt2", cuda_graph_limit=0)


def test_a_budget_is_for_engines_that_stream(islands: Any, tmp_path: Path) -> None:
    tp.save(islands, tmp_path / "m.pt2")
    with pytest.raises(tp.UserError, match=r"'weight_streaming_budget' needs .* those in \S+m.pt2 do not"):
        tp.load(tmp_path / "m.pt2", weight_streaming_budget=1000)
    streams = compiled(Whole(), [torch.zeros(8), BATCH], enable_weight_streaming=True)
    tp.save(streams, tmp_path / "streams.pt2")
    loaded = tp.load(tmp_path / "streams.pt2", weight_streaming_budget=1000)
    assert loaded.options.weight_streaming_budget == 1000


def test_texts_among_the_results(tmp_path: Path) -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, dict[str, str]]:
            return torch.relu(x), {"kind": "text"}

    module = compiled(Named(), [BATCH])
    for save in (lambda: tp.save(module, tmp_path / "m.pt2"), lambda: pickle.dumps(module)):
        with pytest.raises(tp.UserError, match="returns the text 'text', and PyTorch cannot read"):
            save()
    assert not list(tmp_path.iterdir())
    tp.save(module, tmp_path / "m.ts")
    assert torch.jit.load(tmp_path / "m.ts")(torch.ones(2, 4))[1] == {"kind": "text"}


def test_the_file_has_settings_and_versions(islands: Any, tmp_path: Path) -> None:
    tp.save(islands, tmp_path / "m.pt2")
    report = tp.load(tmp_path / "m.pt2").report
    assert report["settings"]["min_block_size"] == 1
    assert {"torch", "trt_passes"} <= set(report["versions"])


def test_torchscript_has_weights_once_and_engines_that_stay(islands: Any, tmp_path: Path) -> None:
    tp.save(islands, tmp_path / "m.ts")
    with zipfile.ZipFile(tmp_path / "m.ts") as archive:
        sizes = [info.file_size for info in archive.infolist()]
    assert sizes.count(300 * 4 * 4) == 2
    extra = {"trt_passes.json": ""}
    script = torch.jit.load(tmp_path / "m.ts", _extra_files=extra)
    assert json.loads(extra["trt_passes.json"])["report"]["settings"]["min_block_size"] == 1
    assert set(dict(script.named_parameters())) == set(dict(Islands().named_parameters()))
    assert not any("engine" in name for name, _ in script.named_buffers())
    assert "device(" in script.code or ".device" in script.code


def test_the_format_can_be_named(islands: Any, tmp_path: Path) -> None:
    tp.save(islands, tmp_path / "m.pt", output_format="torchscript")
    torch.jit.load(tmp_path / "m.pt")
    with pytest.raises(tp.UserError, match=r"output_format is 'torchscrpt'. Did you mean 'torchscript'"):
        tp.save(islands, tmp_path / "m.pt", output_format="torchscrpt")


def test_what_torchscript_returns(tmp_path: Path) -> None:
    class Results(nn.Module):
        def forward(self, x: Tensor) -> Any:
            y = torch.relu(x)
            return Pair(y, [y + 1, y * 2]), x.shape[0]

    tp.save(compiled(Results(), [BATCH]), tmp_path / "m.ts")
    x = torch.randn(5, 4)
    torch.testing.assert_close(torch.jit.load(tmp_path / "m.ts")(x), ((x.relu(), [x.relu() + 1, x.relu() * 2]), 5))


def test_torchscript_checks_what_the_model_checks(tmp_path: Path) -> None:
    class Checked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch._assert_async((x > -100).all(), 'a "small" number')
            return x * 2

    module = tp.compile(Checked(), [BATCH], ir="ts", min_block_size=1)
    tp.save(module, tmp_path / "m.ts")
    for script in (module, torch.jit.load(tmp_path / "m.ts")):
        torch.testing.assert_close(script(torch.ones(2, 4)), torch.full((2, 4), 2.0))
        with pytest.raises(torch.jit.Error, match='a "small" number'):
            script(torch.full((2, 4), -200.0))


def test_what_torchscript_cannot_have_is_a_user_error(tmp_path: Path) -> None:
    class Nested(nn.Module):
        def forward(self, named: dict[str, Any]) -> Tensor:
            return torch.relu(named["x"]) + named["k"]

    module = compiled(Nested(), [{"x": torch.zeros(2, 2), "k": 1}])
    with pytest.raises(tp.UserError, match="argument 'named' is a dict of Tensor and int"):
        tp.save(module, tmp_path / "m.ts")
    assert not list(tmp_path.iterdir())


def test_the_engine_alone_with_its_bindings(whole: Any, tmp_path: Path) -> None:
    tp.save_engine(whole, tmp_path / "m.plan")
    assert (tmp_path / "m.plan").read_bytes() == bytes(whole.report.program.segments[0].engine.whole_plan)
    record = json.loads((tmp_path / "m.plan.json").read_text())
    assert record["arguments"] == ["late", "early"]
    assert len(record["results"]) == 2
    rows = {row["name"]: row for row in (*record["inputs"], *record["outputs"])}
    assert (rows["early"]["min"], rows["early"]["opt"], rows["early"]["max"]) == ([1, 4], [3, 4], [9, 4])
    assert set(record["arguments"] + record["results"]) == set(rows)
    assert (record["flavor"], record["version"]) == (loader.load().flavor, loader.load().version)


def test_the_engine_and_its_bindings_are_written_together(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken.json").mkdir()
    for name in ("folder", "taken"):
        with pytest.raises(tp.UserError, match=r"cannot write .*: Is a directory"):
            tp.save_engine(whole, tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "taken.json"]

    def full(segment: Any) -> bytes:
        raise OSError(28, "No space left on device")

    (tmp_path / "m.plan").write_bytes(b"before")
    (tmp_path / "m.plan.json").write_bytes(b"before")
    monkeypatch.setattr(CompiledSegment, "whole_plan", full)
    with pytest.raises(tp.UserError, match="No space left on device"):
        tp.save_engine(whole, tmp_path / "m.plan")
    assert {path.read_bytes() for path in tmp_path.glob("m.*")} == {b"before"}
    assert len(list(tmp_path.iterdir())) == 4


def test_convert_to_engine_gives_the_same_bytes(whole: Any) -> None:
    data = tp.convert_to_engine(Whole().eval(), [torch.zeros(8), BATCH])
    assert data == bytes(whole.report.program.segments[0].engine.whole_plan)
    assert data == tp.convert_to_engine(Whole().eval(), arg_inputs=[torch.zeros(8), BATCH])


@pytest.mark.parametrize("model", [nn.Identity(), nn.Dropout().eval()])
def test_a_model_that_computes_nothing_has_no_engine(model: nn.Module) -> None:
    with pytest.raises(tp.UserError, match="computes nothing that TensorRT could, so there is no engine to make"):
        tp.convert_to_engine(model, [BATCH])


@pytest.mark.parametrize("value", [False, "no"])
def test_convert_to_engine_is_always_of_the_whole_model(value: Any) -> None:
    with pytest.raises(tp.UserError, match="leave out require_full_compilation"):
        tp.convert_to_engine(Whole().eval(), [torch.zeros(8), BATCH], require_full_compilation=value)


def test_models_that_do_not_convert_whole_say_why(islands: Any, tmp_path: Path) -> None:
    with pytest.raises(tp.UserError, match=r"3 engines|2 engines"):
        tp.save_engine(islands, tmp_path / "m.plan")
    with pytest.raises(tp.UserError, match=r"aten.sort: TP4\d\d"):
        tp.convert_to_engine(Islands().eval(), [BATCH], torch_executed_ops={"aten.sort"})
    with pytest.raises(tp.UserError, match="dryrun"):
        tp.convert_to_engine(Whole().eval(), [torch.zeros(8), BATCH], dryrun=True)

    class Returned(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return torch.relu(x), x

    with pytest.raises(tp.UserError, match="no outputs of an engine"):
        tp.convert_to_engine(Returned().eval(), [BATCH])
    with pytest.raises(tp.UserError, match="only a compiled module has an engine"):
        tp.save_engine(nn.ReLU(), tmp_path / "m.plan")
    left = compiled(Returned(), [BATCH], torch_executed_ops={"aten.relu"})
    with pytest.raises(tp.UserError, match=r"there are no engines; 1 operator stays in PyTorch \(aten.relu\)"):
        tp.save_engine(left, tmp_path / "m.plan")
    assert not list(tmp_path.iterdir())


def test_warm_up_needs_no_arguments_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: Tensor, ids: Tensor, *, pair: tuple[Tensor, float]) -> Tensor:
            self.calls.add_(1)
            return torch.relu(x) * pair[1] + self.calls + pair[0] + ids[:, :1]

    ids = tp.Input(min_shape=(1, 2), opt_shape=(3, 2), max_shape=(9, 2), dtype=torch.int64)
    module = compiled(Counter(), [BATCH, ids], kwarg_inputs={"pair": (torch.ones(4), 2.0)})
    seen: list[Tensor] = []
    monkeypatch.setattr(next(iter(module.segments.values())).runner, "_check", seen.extend)
    module.warm_up()
    assert (3, 4) in [tuple(item.shape) for item in seen]
    assert module.calls.item() == 0
    module.warm_up(torch.ones(2, 4), torch.ones(2, 2, dtype=torch.int64), pair=(torch.ones(4), 2.0))
    assert (2, 4) in [tuple(item.shape) for item in seen]


def test_the_report_says_why_there_will_be_no_cuda_graphs() -> None:
    class Chosen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.relu(x)
            return y[y > 1]

    notes = compiled(Chosen(), [BATCH], cuda_graphs=True).report.notes
    assert any("without CUDA graphs, because %index" in note and "depends on data" in note for note in notes)


def test_results_need_no_gradient_and_modes_are_left_alone(islands: Any) -> None:
    x = torch.ones(2, 4, requires_grad=True)
    results = islands(x, scale=torch.tensor(1.0))
    assert not any(item.requires_grad for item in results.values())
    assert torch.is_grad_enabled()
    with torch.inference_mode():
        torch.testing.assert_close(islands(x, scale=torch.tensor(1.0)), results)
    with pytest.raises(tp.UserError):
        islands(torch.ones(20, 4), scale=torch.tensor(1.0))
    assert torch.is_grad_enabled()


def test_what_the_graph_makes_follows_the_module(islands: Any) -> None:
    module = tp.compile(Islands().eval(), [BATCH], min_block_size=1, torch_executed_ops=LEFT | {"aten.add"})
    module.to("meta")
    made = [node.kwargs["device"] for node in module.graph.nodes if "device" in node.kwargs]
    assert [device.type for device in made] == ["meta"]
    assert {module.get_tensor(name).device.type for name in module._read} == {"meta"}
