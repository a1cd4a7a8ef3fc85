"""`trt-passes doctor`: what it says of this machine, and of machines that lack something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from trt_passes.compiler.cli import doctor as module
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.tensorrt.loader import TensorRTNotFound, load


def states(arguments: list[str]) -> tuple[int, dict[str, dict[str, str]], str]:
    result = CliRunner().invoke(main, ["doctor", *arguments])
    rows = {row["what"]: row for row in json.loads(result.stdout)}
    return result.exit_code, rows, result.stderr


def test_this_machine_can_compile() -> None:
    pytest.importorskip("tensorrt_rtx")
    code, rows, _ = states(["--json"])
    assert code == 0
    assert rows["TensorRT"]["detail"] == str(load())
    assert rows["PyTorch"]["detail"].startswith(torch.__version__)
    assert rows["build an engine"]["state"] == "ok"
    assert rows["run an engine"]["state"] == ("ok" if torch.cuda.is_available() else "optional")
    text = CliRunner().invoke(main, ["doctor"]).stdout
    assert text.startswith("models can be compiled here")


def test_without_tensorrt_it_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise TensorRTNotFound("this step needs TensorRT, but it is not installed")

    monkeypatch.setattr(module, "load", missing)
    code, rows, said = states(["--json"])
    assert code == 1
    assert rows["TensorRT"]["state"] == "missing"
    assert rows["TensorRT"]["remedy"].startswith("pip install tensorrt-rtx")
    assert "build an engine" not in rows
    assert said == "trt-passes: models cannot be compiled here: TensorRT did not work.\n"


def test_a_tensorrt_that_is_broken_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise TensorRTNotFound("tensorrt_rtx is installed but cannot be imported: libtensorrt_rtx.so: no such file")

    monkeypatch.setattr(module, "load", broken)
    code, rows, _ = states(["--json"])
    assert (code, rows["TensorRT"]["state"]) == (1, "failed")
    assert "libtensorrt_rtx.so" in rows["TensorRT"]["detail"]
    assert "--force-reinstall" in rows["TensorRT"]["remedy"]


@pytest.mark.parametrize("command", [["doctor"], ["run", "model.py:factory"]])
def test_a_pytorch_that_is_broken_is_said_in_one_line(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch_cpu.so: undefined symbol')\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "trt_passes", *command],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "trt-passes: PyTorch cannot be imported: libtorch_cpu.so: undefined symbol. Install it again: "
        "pip install --force-reinstall torch"
    ]


def test_a_builder_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no tactics")

    monkeypatch.setattr(module, "compile", broken)
    code, rows, _ = states(["--json"])
    assert code == 1
    assert rows["build an engine"]["detail"] == "RuntimeError: no tactics"


def test_packages_that_are_missing_come_with_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(module, "layout_command", lambda: None)
    monkeypatch.setattr(module, "_trial", lambda library: iter(()))
    result = CliRunner().invoke(main, ["doctor"])
    assert "pandas: pip install pandas" in result.stdout
    assert "Graphviz: apt-get install graphviz" in result.stdout
