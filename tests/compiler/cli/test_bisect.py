"""`trt-passes bisect`: what it prints and writes, and what a user can get wrong."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.pass_base import Context
from trt_passes.passes.convert import Converter, default_registry

pytest.importorskip("tensorrt_rtx")

BLOCKS = f"{Path(__file__).with_name('cli_models.py')}:blocks"


def bisect(*arguments: str, model: str = BLOCKS) -> Result:
    return CliRunner().invoke(main, ["bisect", model, "--set", "min_block_size=3", *arguments])


@pytest.fixture
def wrong_tanh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A converter that makes a sigmoid of every tanh."""
    sigmoid = default_registry().get(torch.ops.aten.sigmoid.default)
    assert sigmoid is not None
    wrong = Converter((torch.ops.aten.tanh.default,), sigmoid.convert)
    monkeypatch.setattr(Context, "converters", default_registry().extended([wrong]))


@pytest.mark.usefixtures("wrong_tanh")
def test_it_prints_the_operator_and_writes_a_script(tmp_path: Path) -> None:
    path = tmp_path / "reproduce.py"
    result = bisect("-o", str(path))
    assert result.exit_code == 0, result.output
    assert "as convert makes it, %tanh yields something else" in result.stdout
    assert "aten.tanh at" in result.stdout
    assert result.stdout.splitlines()[-1] == f"wrote {path}"
    assert runpy.run_path(str(path))["main"]() == 1


@pytest.mark.usefixtures("wrong_tanh")
def test_json() -> None:
    found = json.loads(bisect("--json", "--input", "1..2..4x8").stdout)
    assert (found["stage"], found["segment"]) == ("convert", "segment-00")
    assert [item["op"] for item in found["suspects"]] == ["aten.tanh"]


def test_nothing_is_found(tmp_path: Path) -> None:
    result = bisect("-o", str(tmp_path / "x.py"))
    assert result.exit_code == 0
    assert "nothing differs by more than 0.01" in result.stdout
    assert not (tmp_path / "x.py").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--metric", "l2"], "metric is 'l2'"),
        (["--metric", "relativ-l2"], "Did you mean 'relative-l2'"),
        (["--tolerance", "nan"], "give a number above 0"),
        (["--tolerance", "-1"], "give a number above 0"),
        (["--tolerance", "x"], "give a number above 0"),
        (["--metric", "failure", "--tolerance", "1"], "leave it out with failure"),
        (["-o", "nowhere/x.py"], "there is no folder nowhere"),
        (["-o", "."], "is a folder: name a file"),
        (["-p", "decompose,partion"], "unknown pass 'partion'"),
        (["--set", "min_blok_size=1"], "Did you mean 'min_block_size'"),
        (["--input", "2x7"], "the model itself raises RuntimeError at "),
    ],
)
def test_what_a_user_can_get_wrong(arguments: list[str], words: str) -> None:
    result = bisect(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("model", ["nothing.pt2", "nothing.py:f", "."])
def test_models_that_are_none(model: str) -> None:
    result = bisect(model=model)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
