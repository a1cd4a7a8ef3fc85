"""Scripts hold what was typed at a prompt, whose text is not known: as code, or with a word on what they lack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import trt_passes as tp
from click.testing import CliRunner
from torch import nn
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.instruments.source_code import LACKING, SourceCode
from trt_passes.compiler.pass_base import with_converters
from trt_passes.compiler.tensorrt.registry import Converter

from tests.debug.test_bisect import run_script

TYPED = """
from dataclasses import dataclass
from typing import ClassVar

import torch
import trt_passes as tp
from trt_passes.compiler.tensorrt import arithmetic as ar

KIND = "SIN"


def outer(factor):
    def wrong(ctx, call, *, name="sin"):
        x = ctx.tensor(call.arg("self"))
        return ar.unary(ctx, KIND, x if factor else None, name)

    return wrong


@dataclass(frozen=True)
class Halve(tp.Pass):
    name: ClassVar[str] = "lower.halve"
    factor: float = 0.5

    def run(self, program, ctx):
        node = next(iter(program.graph.find_nodes(op="call_function", target=torch.ops.aten.tanh.default)))
        with program.graph.inserting_after(node):
            half = program.graph.call_function(torch.ops.aten.mul.Tensor, (node, self.factor))
            half.meta = dict(node.meta)
        node.replace_all_uses_with(half, delete_user_cb=lambda user: user is not half)
        return program


@tp.graph_pass("lower.wrong")
def swap(program, ctx):
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten.tanh.default):
        node.target = torch.ops.aten.sin.default
    return program


@torch.library.custom_op("typed::twice", mutates_args=())
def twice(self: torch.Tensor) -> torch.Tensor:
    return 2 * self


@twice.register_fake
def _(self):
    return torch.empty_like(self)


class Last(tp.Pass):
    name = "lower.last"

    def __init__(self):
        super().__init__()
"""


@pytest.fixture(scope="module")
def typed() -> SimpleNamespace:
    """What the text above defines, as at a prompt: no file has it."""
    space: dict[str, Any] = {"__name__": "typed_at_a_prompt"}
    exec(compile(TYPED, "<stdin>", "exec", dont_inherit=True), space)
    return SimpleNamespace(**space)


class WithOperator(nn.Module):
    """f32[2,8] -> f32[2,8], by an operator of the user's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.ops.typed.twice(x) + 1)


def inserted(item: tp.Pass) -> tp.Pipeline:
    return tp.Pipeline.parse("decompose,lower,annotate,partition,convert,build,splice").insert_before("annotate", item)


@pytest.mark.parametrize("kind", ["converter", "class", "function", pytest.param("operator", marks=pytest.mark.long)])
def test_a_script_runs_alone_whatever_was_typed(typed: SimpleNamespace, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    settings = tp.Settings(min_block_size=1)
    model: nn.Module = nn.Sequential(nn.Linear(8, 8), nn.Tanh()).eval()
    if kind == "operator":
        model = WithOperator()
    target = torch.ops.typed.twice.default if kind == "operator" else torch.ops.aten.tanh.default
    options: dict[str, Any] = {"ctx": with_converters([Converter((target,), typed.outer(1))], settings)}
    if kind in ("class", "function"):
        options = {"pipeline": inserted(typed.Halve(0.25) if kind == "class" else typed.swap)}
    found = tp.bisect(model, [torch.linspace(-1, 1, 16).reshape(2, 8)], **options)
    assert found.found, str(found)
    assert found.lacking == []
    if kind != "operator":
        code, said = run_script(found.script, tmp_path)
        assert code == 1, said
        return
    found.write(tmp_path / "alone.py")  # an operator can be defined once in a process
    done = subprocess.run([sys.executable, "alone.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "it differs by more than 0.01" in done.stdout


def test_what_a_script_lacks_is_said(typed: SimpleNamespace) -> None:
    code = SourceCode()
    code.add(typed.Last)
    (line,) = [line for line in str(code).splitlines() if line.startswith(LACKING)]
    assert "Define Last, of typed_at_a_prompt, here: its text is not known, and __init__ calls super()." in line
    assert tp.Bisection("relative-l2", 0.01, 1.0, script=str(code)).lacking == [line.removeprefix(LACKING)]


def test_the_command_says_what_a_script_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tp.Bisection("relative-l2", 0.01, 1.0, "convert", script=f"{LACKING}Define f here.")
    monkeypatch.setattr("trt_passes.compiler.cli.bisect.bisect_program", lambda *_: found)
    (tmp_path / "model.py").write_text("import torch\ndef factory():\n    return torch.nn.ReLU(), (torch.ones(2),)\n")
    done = CliRunner().invoke(main, ["bisect", f"{tmp_path}/model.py:factory", "-o", str(tmp_path / "r.py")])
    assert "r.py does not run alone yet. Define f here." in done.output
