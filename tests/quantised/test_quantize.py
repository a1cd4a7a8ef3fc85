"""`quantize`: one call for those who have no recipe, with the error of every layer."""

from __future__ import annotations

import json

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.cli.tables import quantised_table
from trt_passes.compiler.ir.quantisation import Quantisation, QuantisedLayer
from trt_passes.visualize.page import data_of

from .judged import products, whole

torchao = pytest.importorskip("torchao", reason="torchao is in the extra 'quantisation'")


class Net(nn.Module):
    """A convolution, a residual block of two linear layers, and a head of ten: [n, 3, 16, 16] -> [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.up, self.down, self.head = nn.Linear(256, 512), nn.Linear(512, 256), nn.Linear(256, 10)

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        y = nn.functional.adaptive_avg_pool2d(torch.relu(self.conv(x)), 4).flatten(1)
        return self.head(y + self.down(torch.relu(self.up(y)))) * scale


def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 3, 16, 16, generator=generator) for _ in range(3)]


MODES = {
    "int8-weights": "2 of 4 products with int8 weights",
    "int4-weights": "2 of 4 products with int8 weights",  # float32 has no kernels for four bits
    "int8": "2 of 4 products in int8",
}


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_mode(mode: str, calibrated: bool) -> None:
    model, data = Net().eval(), batches()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    quantised = tp.quantize(model, mode, data if calibrated else None)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    compiled = whole(quantised, [data[0]], (data[0],), within=1e-4)
    assert MODES[mode] in products(compiled)
    said = compiled.report.quantisation
    assert [layer.name for layer in said.quantised] == ["up", "down"]
    right, found = model(data[0]), quantised(data[0])
    error = float((found - right).norm() / right.norm())
    assert 0 < error < 0.1
    if calibrated:
        assert said.output_error == pytest.approx(error, rel=0.5)
    assert all(0 < layer.error < 0.1 for layer in said.quantised)
    assert said.text() in compiled.report.notes
    assert json.loads(json.dumps(compiled.report.to_json()))["quantisation"]["mode"] == mode


def test_the_error_of_a_layer_is_that_of_its_results() -> None:
    model, data = Net().eval(), batches()
    quantised = tp.quantize(model, "int8-weights", data)
    inputs = []
    model.up.register_forward_hook(lambda module, args, result: inputs.append((args[0], result)))
    for batch in data:
        model(batch)
    x, right = (torch.cat(parts) for parts in zip(*inputs, strict=True))
    found = quantised.up(x)
    expected = float((found - right).norm() / right.norm())
    (layer,) = (each for each in quantised.quantisation.layers if each.name == "up")
    assert layer.error == pytest.approx(expected, rel=1e-3)


def test_the_worst_layers_stay_as_they_are() -> None:
    model, data = Net().eval(), batches()
    with torch.no_grad():
        model.up.weight[:, 0] *= 200  # its other columns are next to nothing beside this one
    whole_error = tp.quantize(model, "int8-weights", data).quantisation.output_error
    limited = tp.quantize(model, "int8-weights", data, max_error=whole_error / 2)
    assert [layer.name for layer in limited.quantisation.quantised] == ["down"]
    assert limited.quantisation.output_error <= whole_error / 2
    assert type(limited.up.weight.data) is torch.Tensor
    assert "its error is among the largest" in limited.quantisation.text()
    none = tp.quantize(model, "int8-weights", data, max_error=1e-9)
    assert none.quantisation.quantised == ()
    torch.testing.assert_close(none(data[0]), model(data[0]))


def test_batches_of_keyword_arguments() -> None:
    data = [{"x": batch, "scale": 2.0} for batch in batches()]
    assert tp.quantize(Net().eval(), "int8-weights", data).quantisation.output_error > 0


WRONG = {
    "mode": (lambda: tp.quantize(Net(), "int9"), "mode is 'int9'. Did you mean 'int8'?"),
    "no model": (lambda: tp.quantize(torch.relu, "int8"), "takes an nn.Module"),
    "no batches": (lambda: tp.quantize(Net(), "int8", []), "calibration has no batches"),
    "max_error": (lambda: tp.quantize(Net(), "int8", max_error=-1), "max_error is -1"),
    "no layers": (lambda: tp.quantize(nn.ReLU(), "int8"), "nothing in the model can be quantised to int8"),
    "small layers": (lambda: tp.quantize(nn.Linear(3, 5), "int8-weights"), "no multiples of 16"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises(tp.UserError, match=message.replace("(", r"\(")):
        call()


def test_fp8_needs_modelopt_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "modelopt", None)
    monkeypatch.setitem(__import__("sys").modules, "modelopt.torch.quantization", None)
    with pytest.raises(tp.UserError, match="pip install nvidia-modelopt"):
        tp.quantize(Net().eval(), "fp8", batches())


def test_fp8() -> None:
    pytest.importorskip("modelopt.torch.quantization", reason="nvidia-modelopt is not installed")
    model, data = Net().eval(), batches()
    compiled = whole(tp.quantize(model, "fp8", data), [data[0]], (data[0],), within=1e-4)
    assert "3 of 4 products in fp8" in products(compiled)
    assert compiled.report.quantisation.output_error < 0.05


@pytest.mark.parametrize("rows", [1, 4, 9])
def test_export_quantisation_with_our_quantiser(rows: int) -> None:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    model, x = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).eval(), torch.randn(4, 64)
    shapes = ({0: torch.export.Dim("rows", min=1, max=16)},)
    exported = torch.export.export(model, (x,), dynamic_shapes=shapes).module()
    prepared = prepare_pt2e(exported, tp.TensorRTQuantizer())
    for _ in range(3):
        prepared(torch.randn(4, 64))
    quantised, x = convert_pt2e(prepared), torch.randn(rows, 64)
    declared = [tp.Input(min_shape=(1, 64), opt_shape=(4, 64), max_shape=(16, 64))]
    assert "1 of 2 products in int8" in products(whole(quantised, declared, (x,), within=1e-5))
    assert float((quantised(x) - model(x)).norm() / model(x).norm()) < 0.05


@pytest.mark.long
def test_the_example() -> None:
    from examples.quantised import main

    assert 0 < main("int8-weights", executor="reference") < 0.05


def test_the_command_line(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    from trt_passes.compiler.cli.main import main

    command = ["run", "examples/quantised.py:model", "--quantize", "int8-weights", "--set", "min_block_size=1"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--dump-dir", str(tmp_path / "dump"), "--json"])
    assert ended.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["quantisation"]["mode"] == "int8-weights"
    assert len(report["quantisation"]["layers"]) == 6
    assert "quantised to int8-weights: 6 of 6 layers" in report["notes"][0]
    with pytest.raises(SystemExit):
        main(["explain", str(tmp_path / "dump"), "--quantised"])
    lines = capsys.readouterr().out.splitlines()
    assert "6 of 6 layers" in lines[0]
    assert lines[2].split() == ["layer", "class", "relative", "error", "why", "it", "stays", "as", "it", "is"]
    errors = {name: float(error) for name, _, error in map(str.split, lines[3:])}
    assert errors == {each["name"]: pytest.approx(each["error"], rel=0.1) for each in report["quantisation"]["layers"]}
    data = data_of((tmp_path / "dump" / "index.html").read_text(encoding="utf-8"))
    (measure,) = [item for item in data["measures"] if item["name"] == "error of quantised layers"]
    assert measure["unit"] == "relative L2"
    assert set(measure["values"].values()) == {each["error"] for each in report["quantisation"]["layers"]}
    for text, message in {"int9": "mode is 'int9'", "int8:much": "'much' is no number"}.items():
        with pytest.raises(SystemExit) as ended:
            main(["run", "examples/quantised.py:model", "--quantize", text])
        assert ended.value.code == 1
        assert message in capsys.readouterr().err


def test_the_table_of_layers() -> None:
    layers = [
        QuantisedLayer("a", "Linear", 0.1),
        QuantisedLayer("b", "Linear", 0.2),
        QuantisedLayer("c", "Conv2d", None),
    ]
    left = QuantisedLayer("d", "Linear", 0.9, "it is left out")
    found = Quantisation("fp8", (left, *layers), 0.05)
    assert Quantisation.from_json(json.loads(json.dumps(found.to_json()))) == found
    table = quantised_table(found, 3)
    assert table.title == "quantised to fp8: 3 of 4 layers, and results with a relative error of 0.05"
    assert [row[0] for row in table.rows[:3]] == ["b", "a", "c"]
    assert "and 1 more" in table.rows[3][0]
    assert quantised_table(found).rows[3] == ("d", "Linear", "9.0e-01", "stays as it is, since it is left out")
