"""Fixtures that every test may use: golden files. What makes all tests quicker is in `quicker.py`."""

from __future__ import annotations

import difflib
import gc
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from .quicker import build_in_this_process, retrace_quickly, start_processes_quickly

# A pass that fails is a bug that a test must see, in child processes too.
os.environ["TRT_PASSES_STRICT"] = "1"

start_processes_quickly()

# A busy machine is slow, not wrong.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="write the golden files under tests/golden/ anew")
    parser.addoption("--long", action="store_true", help="run the tests that are marked `long` as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `long` are of one kind with others that always run."""
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="one of many of its kind, and long: pytest --long, make long"))


def pytest_collection_finish() -> None:
    """What was imported stays until the end: collections leave it out. They took a tenth of the time."""
    if "torch" in sys.modules:
        retrace_quickly()
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000)


@pytest.fixture(autouse=True)
def _quick_builds(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    build_in_this_process(monkeypatch, request.path)


@dataclass(frozen=True)
class Golden:
    """Compares texts with the files under `tests/golden/`, or writes them with `--bless`."""

    bless: bool

    def check(self, path: str, text: str) -> None:
        """Fail, with a diff, unless the golden file of that path holds exactly this text."""
        file = GOLDEN / path
        if self.bless:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")
            return
        if not file.exists():
            pytest.fail(
                f"there is no golden file {path}: look at the text, then write it with pytest --bless\n\n{text}"
            )
        expected = file.read_text(encoding="utf-8")
        if text != expected:
            lines = expected.splitlines(), text.splitlines()
            diff = "\n".join(difflib.unified_diff(*lines, f"golden/{path}", "now", lineterm=""))
            pytest.fail(f"{path} is not what it was; if that is right, write it anew with pytest --bless\n\n{diff}")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Golden files: `golden.check("passes/remove_noops.txt", text)`."""
    return Golden(bool(request.config.getoption("--bless")))
