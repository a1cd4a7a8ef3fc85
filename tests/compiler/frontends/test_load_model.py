"""Loading a model by the name that the command line is given, and replacing its example inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trt_passes import Input, UserError, trace
from trt_passes.compiler.frontends.load_model import load_model
from trt_passes.compiler.frontends.torchscript.conversion import module_from_script
from trt_passes.compiler.runtime.saving.save import save

from tests.compiler.runtime.handmade import spliced

SOURCE = """
import torch
import {sibling}

class Model(torch.nn.Module):
    def forward(self, x, mask=None, scale=1.0):
        y = torch.relu(x) * scale
        return y if mask is None else y.where(mask, 0.0)

def model():
    return Model(), (torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool))

def by_name():
    return Model(), {{"x": torch.ones(2, 3, dtype=torch.float16), "scale": 2.0}}

def alone():
    return Model()

def one():
    return Model(), torch.ones(4)

def wrong():
    return {sibling}.raise_it()

def number():
    return 3

def strange():
    return Model(), 3

constant = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "load_model_sibling.py").write_text(
        "def raise_it():\n    raise ValueError('no weights here\\nat all')\n"
    )
    path = tmp_path / "models.py"
    path.write_text(SOURCE.format(sibling="load_model_sibling"))
    return str(path)


def fail(name: str) -> str:
    with pytest.raises(UserError) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_factory_in_a_file(file: str) -> None:
    model = load_model(f"{file}:model")
    assert model.has_inputs
    assert model.module(*model.args).shape == (2, 3)
    by_name = load_model(f"{file}:by_name")
    assert by_name.module(**by_name.kwargs).dtype == torch.float16
    assert load_model(f"{file}:one").args[0].shape == (4,)
    assert not load_model(f"{file}:alone").has_inputs


def test_factory_in_a_module(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.syspath_prepend(str(Path(file).parent))
    assert load_model("models:model").args[0].shape == (2, 3)
    assert "no Python module 'modles'" in fail("modles:model")
    assert "no Python module 'models.layers'" in fail("models.layers:model")


def test_exported_program(tmp_path: Path) -> None:
    path = tmp_path / "relu.pt2"
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.ones(2),)), path)
    model = load_model(str(path))
    assert isinstance(model.module, torch.export.ExportedProgram)
    program = trace(model.module).copy()
    assert [node.name for node in program.graph.nodes] == ["input", "relu", "output"]


@pytest.mark.parametrize("name", ["m.pt2", "m.ts"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_compiled_is_no_model(name: str, tmp_path: Path) -> None:
    save(spliced(torch.nn.Linear(4, 4), (torch.ones(2, 4),), lambda node: True), tmp_path / name)
    message = f"{tmp_path / name} is compiled already, as tp.save wrote it: give the model that it was made of."
    assert fail(str(tmp_path / name)) == message


@pytest.mark.parametrize("kind", ["trace", "script"])
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_becomes_a_module_that_can_be_traced_with_any_batch(tmp_path: Path, kind: str) -> None:
    eager = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()).eval()
    script = torch.jit.trace(eager, torch.ones(1, 3, 8, 8)) if kind == "trace" else torch.jit.script(eager)
    path = tmp_path / "model.pt"
    torch.jit.save(script, path)
    loaded = load_model(str(path)).with_inputs(["1..2..4x3x8x8"])
    assert isinstance(loaded.module, torch.jit.ScriptModule)
    module = module_from_script(loaded.module, loaded.args)
    x = torch.randn(2, 3, 8, 8)
    assert torch.allclose(module(x), eager(x), atol=1e-6)
    program = trace(module, loaded.args)
    assert program.inputs[0].dynamic_dims == (0,)
    wide = torch.randn(4, 3, 8, 8)
    assert torch.allclose(program.exported.module()(wide), eager(wide), atol=1e-6)


def test_what_is_wrong_is_said(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no file model.py" in fail("model.py:model")
    assert "Did you mean 'models.py'" in fail("model.py:model")
    assert "models.py:NAME" in fail("models.py")
    assert "It defines: model, by_name, alone" in fail("models.py")
    assert "no factory 'modell'. Did you mean 'model'?" in fail("models.py:modell")
    assert "is a int" in fail("models.py:constant")
    assert "returned int" in fail("models.py:number")
    assert "inputs of type int" in fail("models.py:strange")
    assert fail("models.py:wrong") == "models.py:wrong raised ValueError at models.py:23: no weights here"
    assert "no model 'resnet'" in fail("resnet")
    assert "is a folder" in fail_folder(tmp_path)


def fail_folder(tmp_path: Path) -> str:
    (tmp_path / "folder.pt2").mkdir()
    return fail("folder.pt2")


@pytest.mark.parametrize("text", ["x = (", "import no_such_module_anywhere", "1 / 0"])
def test_a_file_that_cannot_be_imported(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(f"import torch\n{text}\n")
    message = fail(f"{path}:model")
    assert "raised" in message
    assert "broken.py:2" in message


@pytest.mark.parametrize("suffix", [".pt2", ".pt", ".pth"])
def test_files_that_are_not_models(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    text = tmp_path / f"text{suffix}"
    text.write_text("hello")
    weights = tmp_path / f"weights{suffix}"
    torch.save(torch.nn.Linear(2, 2).state_dict(), weights)
    assert "is not a" in fail(str(text))
    assert "is not a" in fail(str(weights))
    assert f"no file {tmp_path / 'none'}{suffix}" in fail(str(tmp_path / f"none{suffix}"))
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_specs_replace_inputs_in_order_or_by_name(file: str) -> None:
    model = load_model(f"{file}:model")
    both = model.with_inputs(["1..8x3", "1..8x3"])
    assert [str(item) for item in both.args] == ["1..8..8x3:f32", "1..8..8x3:bool"], "dtypes come from the examples"
    one = model.with_inputs(["mask=4x3"])
    assert one.args[0] is model.args[0]
    assert one.args[1] == Input((4, 3), dtype=torch.bool, name="mask")
    named = load_model(f"{file}:by_name").with_inputs(["x=7x7"])
    assert named.kwargs == {"x": Input((7, 7), dtype=torch.float16, name="x"), "scale": 2.0}
    alone = load_model(f"{file}:alone")
    assert alone.with_inputs(["2x2"]).args == (Input((2, 2)),)
    assert alone.with_inputs(["2x2", "mask=2x2:bool"]).kwargs == {"mask": Input((2, 2), dtype=torch.bool, name="mask")}
    assert model.with_inputs([]) is model


@pytest.mark.parametrize(
    ("factory", "specs", "words"),
    [
        ("model", ["1x3"], "takes 2 inputs (x, mask), and --input is given 1 time"),
        ("model", ["1x3", "1x3", "1x3"], "is given 3 times"),
        ("model", ["msk=1x3"], "no input 'msk' (--input msk=1x3). Did you mean 'mask'?"),
        ("model", ["x=1x3", "x=1x3"], "'x' twice"),
        ("model", ["mask=1x3", "1x3", "2x3"], "is given 3 times"),
        ("by_name", ["scale=1x3"], "no input 'scale'"),
        ("alone", ["mask=2x2"], "takes 1 input (x), and --input is given 1 time"),
        ("alone", ["2x2", "x=2x2"], "'x' twice"),
        ("alone", ["2x2", "2x2", "2x2", "2x2"], "is given 4 times"),
        ("model", ["x=1xx3"], "has the size ''"),
    ],
)
def test_specs_that_do_not_fit(file: str, factory: str, specs: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        load_model(f"{file}:{factory}").with_inputs(specs)
    assert words in str(caught.value)
