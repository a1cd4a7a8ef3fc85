"""`trt-passes check`: limits that hold and limits that do not, exit codes, and the files for CI."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from click.testing import CliRunner, Result
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.pass_base import Context
from trt_passes.passes.convert import Converter, default_registry

pytest.importorskip("tensorrt_rtx")

BLOCKS = f"{Path(__file__).with_name('cli_models.py')}:blocks"
SETTINGS = ["--set", "min_block_size=3", "--set", "torch_executed_ops=aten.sort"]


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", BLOCKS, *arguments])


def rows(result: Result) -> dict[str, list[str]]:
    lines = result.stdout.splitlines()
    return {line.split()[0]: line.split() for line in lines[4:] if line.startswith(" ")}


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("baseline") / "dump")
    settings = ["--until", "partition", "--set", "min_block_size=3", "--dump-dir", folder]
    assert CliRunner().invoke(main, ["run", BLOCKS, *settings]).exit_code == 0
    return folder


def test_limits_that_hold(tmp_path: Path) -> None:
    limits = ["--min-coverage", "0.5", "--max-engines", "2", "--max-error", "1e-4", "--junit", str(tmp_path / "j.xml")]
    result = check(*limits, *SETTINGS)
    assert result.exit_code == 0, result.output
    assert {name: row[-1] for name, row in rows(result).items()} == dict.fromkeys(
        ("coverage", "engines", "error"), "passed"
    )
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()[0]
    assert [case.get("name") for case in suite] == ["coverage", "engines", "error"]
    assert suite.get("failures") == "0"


def test_limits_that_do_not(tmp_path: Path) -> None:
    result = check("--min-coverage", "90%", "--max-engines", "1", "--junit", str(tmp_path / "j.xml"), *SETTINGS)
    assert result.exit_code == 1
    assert {name: row[-1] for name, row in rows(result).items()} == {"coverage": "failed", "engines": "failed"}
    assert "there are 2 engines and should be at most 1" in result.stderr
    assert "should be at least 90 %" in result.stderr
    failures = ElementTree.parse(tmp_path / "j.xml").getroot().iter("failure")
    assert len([item.get("message") for item in failures]) == 2


def test_a_wrong_converter_is_an_error_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    sigmoid = default_registry().get(torch.ops.aten.sigmoid.default)
    assert sigmoid is not None
    wrong = Converter((torch.ops.aten.tanh.default,), sigmoid.convert)
    monkeypatch.setattr(Context, "converters", default_registry().extended([wrong]))
    result = check("--max-error", "1e-2", *SETTINGS)
    assert result.exit_code == 1
    assert "the error of output is " in result.stderr


def test_nodes_lost_since_the_baseline(baseline: str) -> None:
    result = check("--baseline", baseline, "--set", "min_block_size=3", "--set", "torch_executed_ops=aten.tanh")
    assert result.exit_code == 1
    assert "%tanh aten.tanh at " in result.stderr
    assert "cli_models.py:" in result.stderr
    assert "trt → excluded" in result.stderr
    assert check("--baseline", baseline, "--set", "min_block_size=3").exit_code == 0


def test_a_baseline_of_another_model_is_refused(baseline: str) -> None:
    result = CliRunner().invoke(main, ["check", BLOCKS.replace(":blocks", ":pair"), "--baseline", baseline])
    assert result.exit_code == 1
    assert "is of another model: none of its " in result.stderr


def test_json(tmp_path: Path) -> None:
    result = check("--max-engines", "0", "--json", *SETTINGS)
    assert result.exit_code == 1
    printed = json.loads(result.stdout)
    assert [(row["name"], row["found"], row["passed"]) for row in printed["checks"]] == [("engines", "2", False)]
    assert printed["report"]["verdicts"]["trt"] > 0


def test_a_model_that_cannot_be_compiled_fails_in_the_file_too(tmp_path: Path) -> None:
    model = BLOCKS.replace(":blocks", ":branching")
    result = CliRunner().invoke(main, ["check", model, "--max-engines", "1", "--junit", str(tmp_path / "j.xml")])
    assert result.exit_code == 1
    (failure,) = ElementTree.parse(tmp_path / "j.xml").getroot().iter("failure")
    assert "decides by a value of a tensor" in str(failure.get("message"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "there is nothing to check"),
        (["--max-error", "nan"], "--max-error is 'nan': give a number"),
        (["--max-error", "little"], "give a number such as 1e-2"),
        (["--max-error", "-1"], "not below 0"),
        (["--min-coverage", "98"], "from 0 to 1"),
        (["--min-coverage", "x%"], "give a share such as 0.98"),
        (["--max-engines", "1.5"], "give a whole number"),
        (["--max-engines", "-1"], "give a whole number"),
        (["--baseline", "nowhere"], "there is no folder nowhere"),
        (["--max-engines", "1", "--junit", "nowhere/j.xml"], "there is no folder nowhere"),
        (["--max-error", "1", "--set", "dryrun=true"], "the run ended before splice"),
        (["--max-engines", "1", "--set", "min_blok_size=1"], "Did you mean 'min_block_size'"),
    ],
)
def test_what_a_user_can_get_wrong(arguments: list[str], words: str) -> None:
    result = check(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_baseline_is_not_overwritten(baseline: str) -> None:
    before = Path(baseline, "run.json").read_text()
    result = check("--baseline", baseline, "--dump-dir", baseline)
    assert "are both" in result.stderr
    assert Path(baseline, "run.json").read_text() == before


def test_a_folder_that_is_no_dump(tmp_path: Path) -> None:
    assert "is not a dump folder" in check("--baseline", str(tmp_path)).stderr


def test_torchscript_in_blocks(tmp_path: Path) -> None:
    class Halved(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(6)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            while bool(x.sum() > 100):
                x = x / 2
            return x

    torch.jit.script(Halved().eval()).save(tmp_path / "model.pt")
    limits = ["--input", "2x4", "--max-error", "1e-3", "--max-engines", "1"]
    result = CliRunner().invoke(main, ["check", str(tmp_path / "model.pt"), *limits])
    assert result.exit_code == 0, result.output
    assert {name: row[-1] for name, row in rows(result).items()} == {"engines": "passed", "error": "passed"}
