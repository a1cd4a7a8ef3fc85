from __future__ import annotations

import io
import subprocess
import sys

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.ir.annotations import annotate_node, annotations_of, set_verdict, verdict_of
from trt_passes.compiler.ir.change import Change, Snapshot
from trt_passes.compiler.ir.graph import insert_call
from trt_passes.compiler.ir.text import node_text, type_text
from trt_passes.compiler.pipeline import facts_of
from trt_passes.compiler.runtime.program_arguments import call_arguments, graph_arguments

from tests.models import ConvNet, Counter, seeded

aten = torch.ops.aten


@pytest.fixture
def program() -> tp.Program:
    return tp.trace(seeded(ConvNet()), [tp.Input.parse("1..2..4x3x16x16")])


def test_copy_has_a_graph_and_annotations_of_its_own(program: tp.Program) -> None:
    copied = program.copy()
    assert [node.name for node in copied.graph.nodes] == [node.name for node in program.graph.nodes]
    annotate_node(copied.node("relu"), verdict="trt")
    copied.graph.erase_node(copied.node("sym_size_int")) if "sym_size_int" in copied.nodes_by_name else None
    assert verdict_of(program.node("relu")) is None
    assert copied.exported.state_dict["head.weight"] is program.exported.state_dict["head.weight"]


def test_annotations_survive_save_and_load(program: tp.Program) -> None:
    node = program.node("relu")
    set_verdict(node, tp.Verdict.REJECTED, [tp.Reason("TP202", "rank 9")], because="x")
    buffer = io.BytesIO()
    torch.export.save(program.exported, buffer)
    buffer.seek(0)
    loaded = tp.Program(torch.export.load(buffer))
    assert annotations_of(loaded.node("relu")) == annotations_of(node)
    (row,) = loaded.ledger.rows
    assert (row.verdict, row.reasons[0].code, row.because) == ("rejected", "TP202", "x")


def test_added_constant_is_part_of_the_signature(program: tp.Program) -> None:
    changed = program.copy()
    relu = changed.node("relu")
    constant = changed.add_constant("one", torch.ones(8, 1, 1))
    with changed.graph.inserting_after(relu):
        added = insert_call(changed.graph, aten.add.Tensor, (relu, constant), like=relu)
    relu.replace_all_uses_with(added, delete_user_cb=lambda user: user is not added)
    changed = changed.synced()
    x = torch.randn(2, 3, 16, 16)
    expected = program.exported.module()(x)
    assert not torch.allclose(changed.exported.module()(x), expected)
    assert constant.name in changed.constants
    buffer = io.BytesIO()
    torch.export.save(changed.exported, buffer)
    assert buffer.getvalue()


def test_sync_drops_constants_that_nothing_reads(program: tp.Program) -> None:
    changed = program.copy()
    weight = next(name for name in changed.constants if "head_bias" in name)
    head = next(iter(changed.node(weight).users))
    head.args = head.args[:2]
    changed = changed.synced()
    assert weight not in changed.constants
    assert "head.bias" not in changed.exported.state_dict
    assert "head.bias" in program.exported.state_dict


def test_mutated_buffers_are_not_constants() -> None:
    program = tp.trace(Counter().eval(), [torch.ones(3)])
    decomposed = tp.PassManager("decompose").run(program).program
    assert decomposed.mutates
    assert not decomposed.constants


def test_graph_arguments_run_the_graph(program: tp.Program) -> None:
    args, kwargs = call_arguments(program)
    flat = graph_arguments(program, args, kwargs)
    (result,) = torch.fx.Interpreter(program.exported.graph_module).run(*flat)
    torch.testing.assert_close(result, program.exported.module()(*args))


def test_change_between_equal_programs_is_empty(program: tp.Program) -> None:
    assert Change.between(Snapshot.of(program), Snapshot.of(program.copy())).empty


def test_facts_of_a_fresh_program(program: tp.Program) -> None:
    decomposed = tp.PassManager("decompose").run(program).program
    assert facts_of(decomposed) == {"core-aten"}


def test_text_forms(program: tp.Program) -> None:
    assert node_text(program.node("relu"), ["a", "", "b"]).startswith("%relu = aten.relu(%")
    assert node_text(program.node("relu"), ["a", "", "b"]).endswith("# a | b")
    assert type_text((torch.zeros(2, 3), None, torch.zeros((), dtype=torch.int64))) == "(f32[2,3], none, i64[])"


def test_import_is_light() -> None:
    script = (
        "import sys, torch, trt_passes; "
        "print([name for name in ('tensorrt', 'tensorrt_rtx', 'networkx', 'rich') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "tensorrt" not in result.stdout
