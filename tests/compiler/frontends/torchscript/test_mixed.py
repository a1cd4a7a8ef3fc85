"""Thirty TorchScript programs that mix what people write, compiled as `ir="ts"` does: against the original."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch.utils import _pytree as pytree

from tests.compiler.frontends.torchscript.mixed_programs import PROGRAMS, scripted
from tests.marks import some_long
from tests.reloading import reloaded

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore:`torch.jit", "ignore::RuntimeWarning"
)

SHORT = ("coloured", "averages", "named", "exits", "halves")
SIZES = (3, 3, 1, 6, 2, 5, 3, 3, 4, 1)


@torch.no_grad()
@pytest.mark.parametrize("name", some_long(PROGRAMS, SHORT))
def test_programs(name: str) -> None:
    program = PROGRAMS[name]
    script = scripted(program)
    original = reloaded(script) if name != "optimised" else copy.deepcopy(script)
    compiled = tp.compile(script, program.declared(8), executor="pytorch", min_block_size=1)
    assert compiled.report.verdicts["trt"]
    assert hasattr(compiled.report, "whole") is not program.whole
    results = {"compiled": compiled, "loaded": reloaded(compiled)}
    for call, count in enumerate(SIZES):
        given = program.call(count, 8)
        expected = original(*copy.deepcopy(given))
        for way, result in results.items():
            found = result(*copy.deepcopy(given))
            first, second = pytree.tree_leaves(found), pytree.tree_leaves(expected)
            assert_same(first, second, f"{way}, call {call}: {name}")


def assert_same(found: list[Any], expected: list[Any], what: str) -> None:
    """Texts and types are equal, numbers and tensors close."""
    assert list(map(type, found)) == list(map(type, expected)), what
    for ours, theirs in zip(found, expected, strict=True):
        if isinstance(theirs, str):
            assert ours == theirs, what
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3, msg=what)


OTHER_PROCESS = """
import sys
from pathlib import Path
import torch
import trt_passes
from torch.utils import _pytree as pytree

with torch.no_grad():
    for path in sorted(Path(sys.argv[1]).glob("*.ts")):
        script = torch.jit.load(path)
        calls = torch.load(path.with_suffix(".calls"), weights_only=False)
        found = [pytree.tree_leaves(script(*given)) for given in calls]
        torch.save(found, path.with_suffix(".results"))
"""


@torch.no_grad()
@pytest.mark.long
def test_files_in_another_process(tmp_path: Path) -> None:
    expected = {}
    for name, program in PROGRAMS.items():
        script = scripted(program)
        compiled = tp.compile(script, program.declared(8), executor="pytorch", min_block_size=1)
        tp.save(compiled, tmp_path / f"{name}.ts")
        calls = [program.call(count, 8) for count in SIZES]
        torch.save(copy.deepcopy(calls), tmp_path / f"{name}.calls")
        original = copy.deepcopy(script)
        expected[name] = [pytree.tree_leaves(original(*given)) for given in calls]
    command = [sys.executable, "-W", "ignore", "-c", OTHER_PROCESS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, theirs in expected.items():
        ours = torch.load(tmp_path / f"{name}.results", weights_only=False)
        for call, (found, wanted) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(found, wanted, f"{name}, call {call}")
