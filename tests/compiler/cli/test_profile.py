"""`trt-passes profile`, and `diff` of two profiles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from trt_passes.compiler.cli.main import main

MODELS = str(Path(__file__).with_name("cli_models.py"))
SETTINGS = ["--set", "min_block_size=3", "--set", "torch_executed_ops=aten.sort"]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def test_run_time_by_line_in_the_dump_and_as_difference(tmp_path: Path) -> None:
    dump, first, second = (str(tmp_path / name) for name in ("dump", "a.json", "b.json"))
    result = call(
        "profile", f"{MODELS}:blocks", "--executor", "pytorch", "--dump-dir", dump, "--profile", first, *SETTINGS
    )
    assert result.exit_code == 0, result.output
    assert "PyTorch's operators on the CPU" in result.stdout
    assert "cli_models.py:" in result.stdout
    assert "build" not in result.stdout
    data = json.loads((tmp_path / "dump/profile.json").read_text())
    assert {row["node"] for row in data["nodes"]} >= {"linear", "sort", "sigmoid"}
    assert "tree-map" in (tmp_path / "dump/modules.svg").read_text()
    assert '"run time"' in (tmp_path / "dump/index.html").read_text()
    assert (tmp_path / "dump/graph.dot").read_text().count(" us") >= 3
    saved = str(tmp_path / "m.pt2")
    assert call("run", f"{MODELS}:blocks", "-o", saved, *SETTINGS).exit_code == 0
    assert call("profile", saved, "--executor", "pytorch", "--profile", second).exit_code == 0
    difference = call("diff", first, second)
    assert difference.exit_code == 0, difference.output
    assert "by module" in difference.stdout
    assert set(json.loads(call("diff", first, second, "--json").stdout)) >= {"lines", "modules", "call_us"}
    # A second run into the folder leaves no times of the first.
    assert call("run", f"{MODELS}:blocks", "--dump-dir", dump, "--until", "partition", *SETTINGS).exit_code == 0
    assert not (tmp_path / "dump/profile.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_says_so_in_a_sentence() -> None:
    for arguments in ([], ["--executor", "reference"]):
        result = call("profile", f"{MODELS}:blocks", *arguments)
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert "give --executor pytorch" in result.stderr


def test_mistakes_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    result = call("diff", str(tmp_path / "x.json"), str(tmp_path / "y.json"))
    assert result.exit_code == 1
    assert "no profile of trt-passes" in result.stderr
