"""Text IR of whole programs, and the difference between two of them."""

from __future__ import annotations

import re
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from trt_passes.compiler.ir.annotations import annotate_node
from trt_passes.compiler.ir.graph_diff import unified
from trt_passes.visualize import program_diff, program_text

from ..conftest import Golden
from .programs import chain, portable, stack


def test_program_text(golden: Golden) -> None:
    golden.check("visualize/chain.txt", portable(program_text(chain())))


def test_text_is_the_same_for_the_same_model() -> None:
    assert program_text(stack()) == program_text(stack())


def test_equal_programs_do_not_differ() -> None:
    assert program_diff(stack(), stack()) == ""


def test_diff_of_annotations_names_runs_of_nodes(golden: Golden) -> None:
    golden.check("visualize/chain-annotated.diff", portable(program_diff(_without_verdicts(), chain())))


def test_diff_of_a_rewritten_graph(golden: Golden) -> None:
    before, after = stack(1), stack(1)
    relu = after.node("relu")
    relu.replace_all_uses_with(relu.args[0])
    after.graph.erase_node(relu)
    golden.check("visualize/without-relu.diff", portable(program_diff(before, after, ("00-input", "01-drop"))))


def _without_verdicts():
    program = chain()
    for node in program.op_nodes:
        annotate_node(node, verdict=None, reasons=None, segment=None)
    return program


LINES = st.lists(st.integers(0, 30).map(lambda number: f"line {number}"), unique=True, max_size=25)


@given(LINES, LINES)
def test_applying_a_diff_to_the_old_text_gives_the_new(old: list[str], new: list[str]) -> None:
    diff = unified(old, new, ("old", "new"))
    assert (diff == []) == (old == new)
    assert _patched(old, diff) == new


def _patched(old: list[str], diff: list[str]) -> list[str]:
    """What `patch` does: read the positions of the hunks and check that their context fits."""
    result: list[str] = []
    state = SimpleNamespace(position=0)
    for line in diff[2:]:
        header = re.fullmatch(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@", line)
        if header:
            start = int(header[1]) - 1
            result += old[state.position : start]
            state.position = start
            assert len(result) == int(header[3]) - 1
        elif line[0] == "+":
            result.append(line[1:])
        else:
            assert old[state.position] == line[1:]
            result += [line[1:]] if line[0] == " " else []
            state.position += 1
    return result + old[state.position :]
