from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.instruments.protocol import Failure, Instrument, Step
from trt_passes.compiler.ir.change import Change
from trt_passes.compiler.ir.graph import insert_call, replace_node

from tests.models import ConvNet, Counter, seeded

aten = torch.ops.aten


@dataclass(frozen=True)
class ReluToSilu(tp.Pass):
    """Replace relu by silu."""

    name: ClassVar[str] = "relu-to-silu"

    def run(self, program: tp.Program, ctx: tp.Context) -> tp.Program:
        for node in list(program.graph.find_nodes(op="call_function", target=aten.relu.default)):
            with program.graph.inserting_before(node):
                replace_node(node, insert_call(program.graph, aten.silu.default, node.args, like=node))
        return program


@dataclass(frozen=True)
class Liar(tp.Pass):
    """Promise verdicts and give none."""

    name: ClassVar[str] = "liar"
    kind: ClassVar[str] = "analysis"
    establishes: ClassVar[frozenset[str]] = frozenset({"annotated"})

    def run(self, program: tp.Program, ctx: tp.Context) -> tp.Program:
        return program


class Recorder(Instrument):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.changes: list[Change] = []
        self.failures: list[Failure] = []

    def before_pipeline(self, pipeline, program, ctx) -> None:
        self.calls.append("before_pipeline")

    def before_pass(self, index, item, program) -> None:
        self.calls.append(f"before {item.name}")

    def after_pass(self, step: Step) -> None:
        self.calls.append(f"after {step.item.name}")
        self.changes.append(step.change)

    def on_failure(self, failure: Failure) -> None:
        self.calls.append(f"failure {failure.item.name}")
        self.failures.append(failure)

    def after_pipeline(self, report: tp.Report) -> None:
        self.calls.append("after_pipeline")


@pytest.fixture
def program() -> tp.Program:
    return tp.trace(seeded(ConvNet()), [torch.randn(2, 3, 16, 16)])


def test_hooks_come_in_order_and_changes_are_computed(program: tp.Program) -> None:
    recorder = Recorder()
    report = tp.PassManager([ReluToSilu()], [recorder]).run(program)
    assert recorder.calls == ["before_pipeline", "before relu-to-silu", "after relu-to-silu", "after_pipeline"]
    (change,) = recorder.changes
    assert (change.created, change.annotated) == (("silu",), ())
    assert set(change.erased) == {"relu", "b_features_1_num_batches_tracked"}, "and a buffer that nothing reads"
    assert change.rewired == ("max_pool2d",)
    assert [record.name for record in report.passes] == ["relu-to-silu"]


def test_the_program_handed_in_is_left_alone(program: tp.Program) -> None:
    before = str(program.graph)
    tp.PassManager([ReluToSilu()]).run(program)
    assert str(program.graph) == before


def test_new_nodes_keep_where_they_came_from(program: tp.Program) -> None:
    report = tp.PassManager([ReluToSilu()]).run(program)
    silu = report.program.node("silu")
    assert silu.meta["nn_module_stack"] == program.node("relu").meta["nn_module_stack"]
    assert silu.meta["val"].shape == program.node("relu").meta["val"].shape


def test_function_pass_and_insertion(program: tp.Program) -> None:
    @tp.graph_pass("drop-relu")
    def drop_relu(program: tp.Program, ctx: tp.Context) -> tp.Program:
        """Remove relu."""
        for node in program.graph.find_nodes(op="call_function", target=aten.relu.default):
            replace_node(node, node.args[0])
        return program

    pipeline = tp.Pipeline.parse("decompose,annotate").insert_before("annotate", drop_relu)
    assert str(pipeline) == "decompose,drop-relu,annotate"
    report = tp.PassManager(pipeline, [tp.Verify()]).run(program)
    assert not report.program.graph.find_nodes(op="call_function", target=aten.relu.default)


def test_verify_checks_the_result_not_the_claim(program: tp.Program) -> None:
    recorder = Recorder()
    with pytest.raises(tp.PassFailure, match=r"'liar'.*promises 'annotated', but \d+ op nodes have no verdict"):
        tp.PassManager([Liar()], [tp.Verify(), recorder]).run(program)
    assert recorder.calls[-2:] == ["failure liar", "after_pipeline"]


def test_an_analysis_pass_must_not_change_the_graph(program: tp.Program) -> None:
    @tp.graph_pass("sneaky", kind="analysis")
    def sneaky(program: tp.Program, ctx: tp.Context) -> tp.Program:
        return ReluToSilu().run(program, ctx)

    with pytest.raises(tp.PassFailure, match="must not change the graph"):
        tp.PassManager([sneaky], [tp.Verify()]).run(program)


def test_a_pass_that_raises_is_named_with_its_node(program: tp.Program) -> None:
    @tp.graph_pass("broken")
    def broken(program: tp.Program, ctx: tp.Context) -> tp.Program:
        error = ValueError("no such thing")
        error.node = "relu"  # type: ignore[attr-defined]
        raise error

    with pytest.raises(tp.PassFailure, match=r"'broken' failed at node relu \(.*models\.py:\d+\): ValueError: no such"):
        tp.PassManager([broken]).run(program)


def test_a_pass_that_loses_an_input_is_refused(program: tp.Program) -> None:
    @tp.graph_pass("loses-input")
    def loses_input(program: tp.Program, ctx: tp.Context) -> tp.Program:
        x = program.user_inputs[0]
        with program.graph.inserting_after(x):
            constant = program.add_constant("zeros", torch.zeros(2, 3, 16, 16))
        replace_node(x, constant)
        return program

    with pytest.raises(tp.PassFailure, match="erased the inputs x"):
        tp.PassManager([loses_input]).run(program)


def test_a_transform_ends_verdicts(program: tp.Program) -> None:
    pipeline = tp.Pipeline([*tp.Pipeline.parse("decompose,annotate"), ReluToSilu()])
    report = tp.PassManager(pipeline, [tp.Verify()]).run(program)
    assert len(report.ledger) == 0


def test_should_run_skips_a_pass(program: tp.Program) -> None:
    class Skip(Instrument):
        def should_run(self, item: tp.Pass, program: tp.Program) -> bool:
            return item.name != "relu-to-silu"

    report = tp.PassManager([ReluToSilu()], [Skip()]).run(program)
    assert report.passes == ()


def test_a_skipped_requirement_is_noticed_when_it_is_needed(program: tp.Program) -> None:
    class SkipAnnotate(Instrument):
        def should_run(self, item: tp.Pass, program: tp.Program) -> bool:
            return item.name != "annotate"

    with pytest.raises(tp.PassFailure, match="'partition' failed: it needs 'annotated'"):
        tp.PassManager("decompose,annotate,partition", [SkipAnnotate()]).run(program)


def test_numerics_names_the_pass_and_the_output(program: tp.Program) -> None:
    numerics = tp.Numerics()
    with pytest.raises(tp.PassFailure, match=r"'relu-to-silu'.*the output differs from the model's: relative L2"):
        tp.PassManager([*tp.Pipeline.parse("decompose"), ReluToSilu()], [numerics]).run(program)
    assert [row.pass_name for row in numerics.rows] == ["decompose", "relu-to-silu"]
    assert numerics.rows[0].relative_l2 < 1e-5 < numerics.rows[1].relative_l2


def test_numerics_leaves_mutated_buffers_alone() -> None:
    model = Counter().eval()
    program = tp.trace(model, [torch.ones(3)])
    tp.PassManager("decompose,lower", [tp.Numerics()]).run(program)
    assert model.count.sum() == 0
    assert program.exported.state_dict["count"].sum() == 0


def test_timing_has_a_row_per_pass(program: tp.Program) -> None:
    timing = tp.Timing()
    tp.PassManager([ReluToSilu()], [timing]).run(program)
    assert [row.name for row in timing.rows] == ["relu-to-silu"]
    assert timing.rows[0].peak_bytes > 10_000_000
    assert "relu-to-silu" in str(timing)


def test_report_json_has_the_documented_fields(program: tp.Program) -> None:
    report = tp.PassManager("decompose,annotate").run(program).to_json()
    assert {"schema", "versions", "command", "pipeline", "settings", "passes", "verdicts", "segments"} <= set(report)
    assert report["passes"][0]["changes"].keys() == {"created", "erased", "rewired", "annotated"}
    assert sum(report["verdicts"].values()) == len(tp.PassManager("decompose,annotate").run(program).program.op_nodes)


def test_impossible_order_is_refused_before_anything_runs(program: tp.Program) -> None:
    recorder = Recorder()
    with pytest.raises(tp.UserError, match="partition needs 'annotated': put annotate before it"):
        tp.PassManager("decompose,partition", [recorder]).run(program)
    assert recorder.calls == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pipeline": 5}, "the pipeline is 5"),
        ({"pipeline": [tp.Verify]}, "a pipeline holds passes"),
        ({"instruments": [5]}, "the instrument 5 is none"),
        ({"instruments": [tp.Timing]}, "is none"),
    ],
)
def test_what_is_no_pass_and_no_instrument(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(tp.UserError, match=words):
        tp.compile(torch.nn.ReLU(), [torch.ones(2)], **arguments)
