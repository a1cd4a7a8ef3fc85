"""Reproducers of failures in the user's own code: passes, converters, operators, helpers, in `__main__` or not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from trt_passes.compiler.instruments.source_code import SourceCode, definitions

HEAD = """
from dataclasses import dataclass
from typing import ClassVar
import sys
import torch
import trt_passes as tp
from trt_passes.compiler.tensorrt.registry import Family, default_registry

LIMIT = 3
NAMES = {"a": (1, float("inf")), torch.float16: [torch.ops.aten.relu.default]}
FAMILY = Family("mine")


@torch.library.custom_op("mine::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x):
    return torch.empty_like(x)


def fail(text):
    raise RuntimeError(f"{text} {LIMIT} {len(NAMES)}")


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(twice(x).sum(-1))


def failing_in(manager, program):
    try:
        manager.run(program)
    except tp.PassFailure as error:
        print(error.message)
    else:
        raise AssertionError("nothing failed")
"""

A_CLASS = '''
@dataclass(frozen=True)
class Mine(tp.Pass):
    """Fail."""

    name: ClassVar[str] = "lower.mine"
    text: str = "no"

    def run(self, program, ctx):
        return fail(self.text)

failing_in(tp.PassManager([Mine("never")], [tp.Dump(sys.argv[1])]), tp.trace(Model(), [torch.ones(2, 3)]))
'''

A_FUNCTION_IN_A_FUNCTION = """
def made(word):
    @tp.graph_pass("lower.mine")
    def mine(program, ctx):
        return fail(word)

    return mine

failing_in(tp.PassManager([made("never")], [tp.Dump(sys.argv[1])]), tp.trace(Model(), [torch.ones(2, 3)]))
"""

A_CONVERTER = '''
@FAMILY.converter(torch.ops.mine.twice.default)
def convert_twice(ctx, call):
    """Twice."""
    fail("never")

class Converters(tp.Context):
    @property
    def converters(self):
        return default_registry().extended(FAMILY)

pipeline = "decompose,lower,annotate,partition{min-block-size=1},convert"
settings = tp.Settings(pass_through_build_failures=True)
manager = tp.PassManager(pipeline, [tp.Dump(sys.argv[1])], ctx=Converters(settings=settings))
failing_in(manager, tp.trace(Model(), [torch.ones(2, 3)]))
'''


def ran(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRT_PASSES_STRICT": ""}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=folder, env=environment)


def test_a_reproducer_runs_alone_in_another_process(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "own.py").write_text(HEAD + A_CLASS)
    first = ran(["own.py", str(tmp_path / "dump")], home)
    assert "never 3 2" in first.stdout, first.stderr
    (home / "own.py").unlink()
    again = ran([str(tmp_path / "dump/repro/reproduce.py")], elsewhere)
    assert again.returncode != 0
    assert "never 3 2" in again.stderr, again.stderr
    assert "NameError" not in again.stderr


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(A_FUNCTION_IN_A_FUNCTION, id="a function in a function", marks=pytest.mark.long),
        pytest.param(A_CONVERTER, id="a converter"),
    ],
)
def test_a_reproducer_of_a_module(tail: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    (tmp_path / "own.py").write_text(HEAD + tail)
    first = ran(["-c", "import own", str(tmp_path / "dump")], tmp_path)
    assert first.returncode == 0, first.stderr
    script = tmp_path / "dump/repro/reproduce.py"
    assert "import own" not in script.read_text(), "what it needs is in it"
    assert "from own" not in script.read_text(), "what it needs is in it"
    (tmp_path / "own.py").unlink()
    again = ran([str(script)], tmp_path)
    assert again.returncode != 0
    assert re.search("PassFailure: .*never 3 2", again.stderr), again.stderr


def one(a: int) -> int:
    return two(a) + OFFSET


def two(a: int) -> int:
    return one(a - 1) if a else 0


OFFSET = 3


def test_functions_that_call_each_other_are_copied_once() -> None:
    code, names = definitions([one, two])
    assert names == ["one", "two"]
    space: dict[str, object] = {}
    exec(str(code), space)
    assert space["one"](2) == one(2)  # type: ignore[operator]
    assert str(code).count("def one") == 1


def test_what_cannot_be_copied_is_told() -> None:
    code = SourceCode()
    code.add(object(), "thing")
    space: dict[str, object] = {}
    exec("def lost(): pass", space)
    code.add(space["lost"])
    assert "Define thing, a object, here" in str(code)
    assert "# The text of lost is not known." in str(code)
    exec(str(code), {})


def test_what_a_library_has_is_imported() -> None:
    code, names = definitions([Path, pytest.importorskip])
    assert "from pathlib import Path" in str(code)
    assert names[0] == "Path"
