"""`trt-passes run --check-numerics` with a tolerance and a metric."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from trt_passes.compiler.cli.main import main

MODELS = str(Path(__file__).with_name("cli_models.py"))
HALF = ["--set", "enabled_precisions=float16", "--set", "min_block_size=1"]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["run", f"{MODELS}:pitch", *arguments, *HALF], catch_exceptions=False)


def test_what_halves_cannot_hold_is_kept_and_named(tmp_path: Path) -> None:
    result = call("--check-numerics", "--dump-dir", str(tmp_path / "dump"))
    assert result.exit_code == 0, result.output
    assert "float16 cannot hold some values" in result.stdout
    assert "sigmoid (aten.sigmoid" in result.stdout
    rows = {row["node"]: row for row in json.loads((tmp_path / "dump/errors.json").read_text())["nodes"]}
    assert rows["linear"]["added"] > 1e-5
    assert "error added" in (tmp_path / "dump/index.html").read_text()


def test_the_users_tolerance_ends_the_run() -> None:
    result = call("--check-numerics", "--tolerance", "1e-5", "--until", "partition")
    assert result.exit_code == 2
    assert "more than 1e-05. Most of the error is added by" in result.stderr
    assert "the fault is not yours" not in result.stderr


def test_a_metric_judges_the_compiled_model() -> None:
    metric = ["--check-numerics", "--metric", f"{MODELS}:farthest", "--until", "partition"]
    assert call(*metric, "--tolerance", "1").exit_code == 0
    result = call(*metric, "--tolerance", "1e-6")
    assert result.exit_code == 2
    assert "farthest gives" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tolerance", "1"], "add --check-numerics"),
        (["--metric", f"{MODELS}:farthest"], "add --check-numerics"),
        (["--check-numerics", "--metric", f"{MODELS}:fartest"], "Did you mean 'farthest'"),
        (["--check-numerics", "--metric", "farthest"], "give file.py:NAME"),
        (["--check-numerics", "--tolerance", "much"], "give a number above 0"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments: list[str], words: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 1
    assert words in result.stderr


def test_a_wrong_converter_is_not_called_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    (tmp_path / "a_wrong_sigmoid.py").write_text(
        "import torch\nimport trt_passes as tp\n"
        "@tp.converter(torch.ops.aten.sigmoid.default)\n"
        "def convert(ctx, call):\n"
        "    return tp.arithmetic.unary(ctx, 'SIN', ctx.tensor(call.arg('self')), 'sigmoid')\n"
    )
    (tmp_path / "model.py").write_text(
        "import torch\ndef factory():\n"
        "    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Sigmoid()).eval(), (torch.ones(2, 4),)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    command = ["run", f"{tmp_path}/model.py:factory", "--plugin", "a_wrong_sigmoid", "--check-numerics"]
    result = CliRunner().invoke(main, [*command, "--set", "min_block_size=1"])
    assert result.exit_code == 2
    assert "finds the operator at fault" in result.stderr
    assert "Most of the error" not in result.stderr
