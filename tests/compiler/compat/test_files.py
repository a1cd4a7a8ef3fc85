"""Saving and loading with the arguments of Torch-TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.compiler.compat.files import own_libraries

SMALL = {"min_block_size": 1, "executor": "pytorch"}
VARYING = torch_tensorrt.Input(min_shape=(1, 4), opt_shape=(2, 4), max_shape=(5, 4))
X = torch.randn(3, 4)


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


@pytest.mark.parametrize("retrace", [True, False])
@pytest.mark.parametrize("options", [{}, {"inputs": [X]}, {"arg_inputs": (VARYING,)}])
def test_an_exported_program(model: nn.Module, tmp_path: Path, retrace: bool, options: Any) -> None:
    compiled = torch_tensorrt.compile(model, inputs=[VARYING], **SMALL)
    path = str(tmp_path / "model.ep")
    torch_tensorrt.save(compiled, path, retrace=retrace, extra_files={"note.txt": "made"}, **options)
    texts = {"note.txt": "", "other": ""}
    loaded = torch_tensorrt.load(path, extra_files=texts)
    assert isinstance(loaded, torch.export.ExportedProgram)
    assert texts == {"note.txt": "made", "other": ""}
    for size in (1, 5):
        x = torch.randn(size, 4)
        torch.testing.assert_close(loaded.module()(x), model(x))
        torch.testing.assert_close(torch.export.load(path).module()(x), model(x))
        torch.testing.assert_close(tp.load(path)(x), model(x))
    assert loaded.module().report.coverage == 1
    again = tmp_path / "again.ep"
    torch_tensorrt.save(loaded, again)
    torch.testing.assert_close(torch_tensorrt.load(again).module()(X), model(X))


@pytest.mark.parametrize("suffix", ["ts", "pt"])
def test_torchscript(model: nn.Module, tmp_path: Path, suffix: str) -> None:
    compiled = torch_tensorrt.compile(model, inputs=[X], **SMALL)
    path = tmp_path / f"model.{suffix}"
    torch_tensorrt.save(compiled, path, output_format="torchscript", inputs=[X], extra_files={"note.txt": "made"})
    texts = {"note.txt": ""}
    loaded = torch_tensorrt.load(path, extra_files=texts)
    assert isinstance(loaded, torch.jit.ScriptModule)
    assert texts["note.txt"] in (b"made", "made")
    torch.testing.assert_close(loaded(X), model(X))
    torch.testing.assert_close(torch.jit.load(str(path))(X), model(X))


def test_a_script_module(model: nn.Module, tmp_path: Path) -> None:
    compiled = torch_tensorrt.compile(model, ir="ts", inputs=[X], **SMALL)
    with pytest.raises(ValueError, match="is saved as TorchScript"):
        torch_tensorrt.save(compiled, tmp_path / "model.ep")
    torch_tensorrt.save(compiled, tmp_path / "model.ts", output_format="torchscript")
    torch.testing.assert_close(torch_tensorrt.load(tmp_path / "model.ts")(X), model(X))


class Around(nn.Module):
    """A model of the user's that calls a compiled one."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x).sin()


@pytest.mark.parametrize(
    "options",
    [
        {"inputs": [X]},
        {"inputs": [X], "dynamic_shapes": ({0: torch.export.Dim("n", min=2, max=5)},)},
        {"arg_inputs": [VARYING]},
    ],
)
def test_a_module_that_calls_a_compiled_one_is_exported_again(model: nn.Module, tmp_path: Path, options: Any) -> None:
    whole = Around(torch_tensorrt.compile(model, inputs=[VARYING], **SMALL)).eval()
    torch_tensorrt.save(whole, tmp_path / "whole.ep", **options)
    loaded = torch_tensorrt.load(tmp_path / "whole.ep").module()
    for size in (3,) if options.keys() == {"inputs"} else (2, 3, 5):
        x = torch.randn(size, 4)
        torch.testing.assert_close(loaded(x), model(x).sin())
    torch_tensorrt.save(whole, tmp_path / "whole.ts", output_format="torchscript", inputs=[X])
    torch.testing.assert_close(torch_tensorrt.load(tmp_path / "whole.ts")(X), model(X).sin())


def test_programs_of_pytorch(model: nn.Module, tmp_path: Path) -> None:
    program = torch.export.export(model, (X,))
    torch_tensorrt.save(program, tmp_path / "plain.ep")
    torch.testing.assert_close(torch_tensorrt.load(tmp_path / "plain.ep").module()(X), model(X))
    compiled = torch_tensorrt.compile(program, **SMALL)
    again = torch.export.export(compiled, (X,))
    torch.export.save(again, tmp_path / "again.ep")
    torch.testing.assert_close(torch_tensorrt.load(tmp_path / "again.ep").module()(X), model(X))


def test_what_cannot_be_saved_or_loaded(model: nn.Module, tmp_path: Path) -> None:
    compiled = torch_tensorrt.compile(model, inputs=[X], **SMALL)
    with pytest.raises(ValueError, match="output_format is 'onnx'"):
        torch_tensorrt.save(compiled, tmp_path / "a", output_format="onnx")
    with pytest.raises(ValueError, match="is given no path"):
        torch_tensorrt.save(compiled)
    with pytest.raises(ValueError, match="is exported to be saved"):
        torch_tensorrt.save(model, tmp_path / "a")
    with pytest.raises(TypeError, match="cannot be saved"):
        torch_tensorrt.save(3, tmp_path / "a")
    with pytest.raises(tp.UserError, match="extra_files"):
        torch_tensorrt.save(compiled, tmp_path / "a", extra_files={"trt_passes.json": "{}"})
    (tmp_path / "text").write_text("nothing")
    with pytest.raises(ValueError, match="neither an exported program nor TorchScript"):
        torch_tensorrt.load(tmp_path / "text")
    with pytest.raises(ValueError, match="does not exist"):
        torch_tensorrt.load(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"end in \.pt2"):
        torch_tensorrt.save(compiled, tmp_path / "a.ep", output_format="aot_inductor", inputs=[X])


@torch.library.custom_op("trt_passes_kept::kept", mutates_args=())
def kept_rows(x: torch.Tensor) -> torch.Tensor:
    """The rows with a positive sum."""
    return torch.nonzero(x.sum(1) > 0).squeeze(1)


@kept_rows.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


class Kept(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[kept_rows(torch.tanh(x) * 2)]


def test_operators_of_this_process_in_files(tmp_path: Path) -> None:
    compiled = torch_tensorrt.compile(Kept().eval(), inputs=[X], min_block_size=1, executor="pytorch")
    assert len(compiled.segments) == 1
    torch_tensorrt.save(compiled, tmp_path / "kept.ep")
    loaded = torch_tensorrt.load(tmp_path / "kept.ep").module()
    for x in (X, -X, X.abs()):
        torch.testing.assert_close(loaded(x), x[x.tanh().sum(1) > 0])
    with pytest.raises(tp.UserError, match="operator of another library"):
        tp.load(tmp_path / "kept.ep")
    assert "trt_passes_kept" in own_libraries()
    assert "prims" not in own_libraries()  # made by the same function, in PyTorch
