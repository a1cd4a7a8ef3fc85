"""Code and commands in the README and on pages run, from top to bottom of each page."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch
import trt_passes as tp
from click.testing import CliRunner
from trt_passes.compiler.cli.main import main

from .snippets import Snippet, snippets

ROOT = Path(__file__).parents[2]
GENERATED = ("api", "command-line", "models", "operators", "options", "passes", "performance", "reason-codes")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.stem not in GENERATED),
]
LONG = ("hugging-face",)
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"])

pytestmark = [
    pytest.mark.filterwarnings("ignore:TensorRT engines run in PyTorch"),
    pytest.mark.filterwarnings("ignore:.*is in training mode"),
]


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.long] if page.stem in LONG else [], id=page.name) for page in PAGES],
)
def test_everything_on_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.chdir(tmp_path)
    for folder in ("benchmarks", "docs", "examples", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    names: dict[str, object] = {"torch": torch, "tp": tp}
    for snippet in snippets(page):
        if snippet.command:
            _command(page, snippet)
        elif not snippet.needs:
            exec(compile(snippet.code, f"{page.name}:{snippet.line}", "exec"), names)


def _command(page: Path, snippet: Snippet) -> None:
    program, *words = snippet.command
    place = f"{page.name}:{snippet.line}: {' '.join(snippet.command)}"
    if program == "make":
        targets = {word for word in words if "=" not in word}
        assert targets <= TARGETS, place
    elif program == "pip":
        named = {name for word in words for found in re.findall(r"\[([\w,-]+)\]", word) for name in found.split(",")}
        assert named <= EXTRAS, place
    elif program == "python":
        _is_there(place, words)
    elif words[0] == "view" or snippet.needs:
        command = main.commands[words[0]]
        command.make_context(words[0], list(words[1:]))
    else:
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, f"{place}\n{result.output}\n{result.exception!r}"


def _is_there(place: str, words: list[str]) -> None:
    """A script or module of ours, with the options that the command gives it."""
    if words[0] == "-m":
        assert words[1].split(".")[0] in ("pytest", "tests", "docs", "trt_passes"), place
        return
    source = Path(words[0])
    assert source.exists(), place
    text = (source / "__main__.py" if source.is_dir() else source).read_text(encoding="utf-8")
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert f'"{option}"' in text, f"{place}: {option}"
