"""`[tool.trt-passes]` in pyproject.toml: defaults of a project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from trt_passes.compiler.cli.defaults import project_defaults
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.errors import UserError

MODELS = str(Path(__file__).with_name("cli_models.py"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["run", f"{MODELS}:blocks", "--until", "partition", *arguments])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.trt-passes]\nmin-block-size = 3\ntorch_executed_ops = ["aten.sort"]\n'
    )
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    return tmp_path


def test_they_hold_in_folders_below(project: Path) -> None:
    settings = json.loads(run("--json").stdout)["settings"]
    assert settings["min_block_size"] == 3
    assert settings["torch_executed_ops"] == ["aten.sort"]
    assert run().stdout.splitlines()[-1] == (
        f"settings of [tool.trt-passes] in {project / 'pyproject.toml'}: min_block_size, torch_executed_ops"
    )


def test_the_command_line_comes_first(project: Path) -> None:
    settings = json.loads(run("--json", "--set", "min_block_size=2").stdout)["settings"]
    assert settings["min_block_size"] == 2
    assert settings["torch_executed_ops"] == ["aten.sort"]


def test_aliases_are_one_option(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.trt-passes]\ntruncate-long-and-double = true\n")
    assert json.loads(run("--json", "--set", "truncate_double=false").stdout)["settings"]["truncate_double"] is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.trt-passes]\nmin-blok-size = 3\n", "Did you mean 'min_block_size'"),
        ("[tool.trt-passes]\nmin-block-size = 'three'\n", "give a whole number of at least 1"),
        ("[tool]\ntrt-passes = 3\n", "make it a table of settings"),
        ("[tool.trt-passes\n", "is not TOML"),
        ("\x00", "is not TOML"),
    ],
)
def test_what_is_wrong_in_it(project: Path, text: str, words: str) -> None:
    (project / "pyproject.toml").write_text(text)
    result = run()
    assert result.exit_code == 1
    assert words in result.stderr
    assert "pyproject.toml" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_file_without_the_table_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\nline-length = 120\n")
    defaults = project_defaults(tmp_path)
    assert (defaults.path, dict(defaults.settings)) == (None, {})


def test_the_nearest_file_decides(project: Path) -> None:
    (project / "sub" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert project_defaults(project / "sub").path is None


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not TOML"):
        project_defaults(tmp_path)
