"""A lowering pass of this package that fails: undone and reported, or raised where strictness is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.errors import ISSUES
from trt_passes.passes.lower import FoldConstants, RemoveNoops

X = torch.randn(2, 4)


class Model(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x * 1.0) + torch.ones(4) * 2


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users have it: the tests are strict otherwise."""
    monkeypatch.delenv("TRT_PASSES_STRICT")


def spoil(monkeypatch: pytest.MonkeyPatch, item: type[tp.Pass]) -> None:
    """Let a pass change everything and then raise at a node."""

    def run(self: tp.Pass, program: tp.Program, ctx: tp.Context) -> tp.Program:
        ctx.note("a sentence of a pass that failed")
        for node in program.op_nodes:
            node.meta["custom"] = {"spoiled": True}
            if node.target is torch.ops.aten.relu.default:
                node.target = torch.ops.aten.neg.default
                raise KeyError("no such thing")
        return program

    monkeypatch.setattr(item, "run", run)


@pytest.mark.usefixtures("lenient")
def test_it_is_undone_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spoil(monkeypatch, RemoveNoops)
    compiled = tp.compile(Model(), [X], min_block_size=1, executor="reference", dump_dir=tmp_path)
    assert compiled(X).equal(Model()(X))
    assert compiled.report.coverage == 1
    assert not any(node.meta.get("custom", {}).get("spoiled") for node in compiled.report.program.op_nodes)
    (note,) = compiled.report.notes
    assert "'lower.remove-noops' failed at node relu (" in note
    assert "test_undo.py" in note
    assert "KeyError: 'no such thing'" in note
    assert ISSUES in note
    (row,) = [row for row in json.loads((tmp_path / "run.json").read_text())["passes"] if row["undone"]]
    assert (row["name"], row["undone"]) == ("lower.remove-noops", "KeyError: 'no such thing'")
    assert sum(row["changes"].values()) == 0
    assert note.replace(f"{tmp_path}/", "") in (tmp_path / "why.txt").read_text()
    assert "failed and was undone" in next(tmp_path.glob("*-lower.remove-noops/unchanged.txt")).read_text()
    assert str(tmp_path / "repro" / "reproduce.py") in note


@pytest.mark.usefixtures("lenient")
def test_each_has_a_reproducer_which_is_strict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spoil(monkeypatch, RemoveNoops)
    spoil(monkeypatch, FoldConstants)
    compiled = tp.compile(Model(), [X], min_block_size=1, executor="reference", dump_dir=tmp_path)
    assert len(compiled.report.notes) == 2
    assert (tmp_path / "repro-lower.fold-constants" / "reproduce.py").exists()
    environment = {name: value for name, value in os.environ.items() if name != "TRT_PASSES_STRICT"}
    again = subprocess.run(
        [sys.executable, tmp_path / "repro" / "reproduce.py"], capture_output=True, text=True, env=environment
    )
    assert "ran without a failure this time" in again.stderr, "the pass is not spoilt in another process"
    tp.compile(Model(), [X], min_block_size=1, executor="reference", dump_dir=tmp_path)


@pytest.mark.usefixtures("lenient")
def test_strict_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, FoldConstants)
    with pytest.raises(tp.PassFailure, match=f"(?s)fold-constants' failed at node relu .*please report it at {ISSUES}"):
        tp.compile(Model(), [X], strict=True)
    tp.compile(Model(), [X], executor="pytorch")
    monkeypatch.setenv("TRT_PASSES_STRICT", "1")
    with pytest.raises(tp.PassFailure, match="fold-constants"):
        tp.compile(Model(), [X])


@pytest.mark.usefixtures("lenient")
def test_a_broken_promise_is_undone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RemoveNoops, "establishes", frozenset({"annotated"}))
    compiled = tp.compile(Model(), [X], min_block_size=1, executor="reference")
    assert compiled(X).equal(Model()(X))
    assert "promises 'annotated', but" in compiled.report.notes[0]


@pytest.mark.usefixtures("lenient")
def test_a_pass_whose_fact_is_needed_later_is_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    from trt_passes.compiler import manager, pipeline
    from trt_passes.compiler.ir.facts import Fact
    from trt_passes.passes import lower
    from trt_passes.passes.annotate import Annotate

    spoil(monkeypatch, FoldConstants)
    monkeypatch.setattr(FoldConstants, "establishes", frozenset({"folded"}))
    monkeypatch.setattr(Annotate, "requires", frozenset({"folded"}))
    folded = Fact("folded", "constants are folded", lambda program: "nothing was folded")
    for module in (pipeline, manager):
        monkeypatch.setattr(module, "KNOWN_FACTS", {**pipeline.KNOWN_FACTS, "folded": folded})
    assert FoldConstants in lower.PASSES
    with pytest.raises(tp.PassFailure, match=r"lower\.fold-constants"):
        tp.PassManager("lower,annotate").run(tp.trace(Model(), [X]))
    tp.PassManager("lower").run(tp.trace(Model(), [X]))


@pytest.mark.usefixtures("lenient")
def test_mistakes_interrupts_and_other_passes_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    @tp.graph_pass("lower.mine")
    def mine(program: tp.Program, ctx: tp.Context) -> tp.Program:
        """Fail."""
        raise KeyError("mine")

    program = tp.trace(Model(), [X])
    with pytest.raises(tp.PassFailure, match=r"lower\.mine") as caught:
        tp.PassManager([mine]).run(program)
    assert ISSUES not in str(caught.value), "the fault is its author's"
    for error in (tp.UserError("a mistake"), KeyboardInterrupt()):

        def raising(self: Any, program: Any, ctx: Any, error: BaseException = error) -> Any:
            raise error

        monkeypatch.setattr(FoldConstants, "run", raising)
        with pytest.raises(type(error)):
            tp.PassManager("lower").run(program)
