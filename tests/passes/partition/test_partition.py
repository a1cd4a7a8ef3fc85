"""The pass `partition` on exported programs with verdicts set by hand, so that no converter is involved."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.annotations import annotations_of, set_verdict, verdict_of
from trt_passes.compiler.ir.ledger import Reason, Verdict
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.pass_base import Context
from trt_passes.compiler.pipeline import KNOWN_FACTS
from trt_passes.compiler.settings import Settings
from trt_passes.passes.partition import Partition

aten = torch.ops.aten


def annotated(
    function: Callable[..., object], inputs: tuple[torch.Tensor, ...], *fallbacks: object, dynamic: object = None
) -> Program:
    """Export a function; every op node may go to TensorRT except those that call one of ``fallbacks``."""

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4))

        def forward(self, *arguments: torch.Tensor) -> object:
            return function(self, *arguments)

    shapes = None if dynamic is None else {"arguments": dynamic}
    exported = torch.export.export(Model().eval(), inputs, dynamic_shapes=shapes).run_decompositions()
    program = Program(exported)
    stays = {*fallbacks, aten._assert_scalar.default, aten._assert_tensor_metadata.default, aten.nonzero.default}
    for node in program.op_nodes:
        if node.target in stays:
            set_verdict(node, Verdict.UNSUPPORTED, [Reason("TP101", "no converter is registered for it.")])
        else:
            set_verdict(node, Verdict.TRT)
    return program


def partition(program: Program, floor: int = 1, **options: object) -> Program:
    result = Partition(min_block_size=floor, **options).run(program, Context())
    assert KNOWN_FACTS["partitioned"].violation(result) is None
    return result


def reasons(program: Program) -> dict[str, tuple[str, str]]:
    """Code and message of each demoted node."""
    rows = [row for row in program.ledger if row.verdict is Verdict.DEMOTED]
    return {row.node: (row.reasons[0].code, row.reasons[0].message) for row in rows}


X = torch.randn(3, 4)


def test_a_fallback_separates_two_segments_and_only_tensors_cross() -> None:
    program = partition(
        annotated(lambda m, x: (x.relu() + m.weight).sort().values.exp() * m.weight, (X,), aten.sort.default)
    )
    first, second = program.segments
    assert (first.name, second.name) == ("segment-00", "segment-01")
    assert first.nodes == ("relu", "add")
    assert (first.inputs, first.outputs) == (("arguments_0",), ("add",))
    assert first.constants == second.constants == ("p_weight",)
    assert second.nodes == ("exp", "mul")
    assert second.outputs == ("mul",)


def test_getitem_stays_with_its_producer() -> None:
    program = partition(
        annotated(lambda m, x: x.split(2, 1)[0].sort().values + x.split(2, 1)[1].exp(), (X,), aten.sort.default)
    )
    segment = {row.node: row.segment for row in program.ledger}
    assert segment["getitem"] == segment["split_with_sizes"] is not None
    assert all(not name.startswith("split") for item in program.segments for name in item.inputs + item.outputs)


def test_getitem_of_a_fallback_is_demoted_because_of_it() -> None:
    program = partition(annotated(lambda m, x: x.sort().values.relu(), (X,), aten.sort.default))
    row = program.ledger["getitem"]
    assert (row.verdict, row.because, row.reasons[0].code) == (Verdict.DEMOTED, "sort", "TP302")


def test_small_segments_are_demoted_with_the_numbers() -> None:
    program = partition(annotated(lambda m, x: x.relu().exp().sin().sort().values.cos(), (X,), aten.sort.default), 3)
    assert [item.nodes for item in program.segments] == [("relu", "exp", "sin")]
    code, message = reasons(program)["cos"]
    assert code == "TP301"
    assert message == "its engine would have at most 1 op node (%cos), min_block_size is 3."


def test_the_setting_is_the_default_of_min_block_size() -> None:
    program = annotated(lambda m, x: x.relu().exp(), (X,))
    kept = Partition().run(program, Context(settings=Settings(min_block_size=2)))
    assert len(kept.segments) == 1
    assert not Partition().run(kept, Context(settings=Settings(min_block_size=3))).segments


def test_sizes_do_not_split_segments_and_join_the_first_that_uses_them() -> None:
    def forward(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = x.relu().reshape(x.shape[0] * 4).sort().values
        return y.reshape(x.shape[0], 4).exp()

    batch = torch.export.Dim("batch", min=2, max=8)
    program = partition(annotated(forward, (X,), aten.sort.default, dynamic=({0: batch},)))
    assert len(program.segments) == 2
    sizes = {row.op: row.segment for row in program.ledger if row.node.startswith(("sym_size", "mul"))}
    assert set(sizes.values()) == {"segment-00"}
    # y is as long as 4 times the batch; the batch itself is known from the shape of the model's input.
    assert program.segments[1].inputs == ("getitem", "arguments_0")


def test_a_size_read_from_a_later_segment_is_no_dependency() -> None:
    def forward(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.relu().sort().values.exp(), y.reshape(x.shape[0] * 4).sin()

    batch = torch.export.Dim("batch", min=2, max=8)
    program = annotated(forward, (X, torch.randn(4, 3)), aten.sort.default, dynamic=({0: batch}, {1: batch}))
    size = next(node for node in program.op_nodes if node.target is aten.sym_size.int)
    exp, reshaped = program.node("exp"), next(node for node in program.op_nodes if node.target is aten.view.default)
    rest = [size, *(node for node in program.op_nodes if "mul" in node.name), reshaped, program.node("sin")]
    for after, node in zip([exp, *rest], rest, strict=False):
        after.append(node)
    size.args = (exp, 0)
    program.graph.lint()
    partitioned = partition(program)
    assert [item.nodes for item in partitioned.segments] == [("relu", *(node.name for node in rest)), ("exp",)]


def test_a_size_that_only_pytorch_uses_stays_there() -> None:
    def forward(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return y.relu() + torch.full((x.shape[0], 4), 2.0).sum(0)

    batch = torch.export.Dim("batch", min=2, max=8)
    program = partition(annotated(forward, (X, torch.randn(4)), aten.full.default, dynamic=({0: batch}, None)))
    assert [code for code, _ in reasons(program).values()] == ["TP303"]


def test_nonzero_in_the_middle_gives_two_segments() -> None:
    def forward(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        found = torch.nonzero(x.relu().exp())
        return found.float().reshape(found.shape[0] * 2).relu().exp()

    program = partition(annotated(forward, (X,)))
    assert len(program.segments) == 2
    assert program.segments[1].inputs == ("nonzero",)


def test_a_number_from_values_cannot_cross() -> None:
    def forward(model: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = x.sum().to(torch.int64).item()
        torch._check(count >= 1)
        return x.relu(), torch.full((count,), 1.0).exp()

    program = partition(annotated(forward, (X,)))
    found = reasons(program)
    assert found["_local_scalar_dense"][0] == "TP302"
    assert found["full"][0] == "TP302"
    assert "%_local_scalar_dense" in found["full"][1]


def test_a_dependency_through_a_number_separates_segments() -> None:
    """exp waits for the number, which waits for sum: they cannot share an engine though no tensor connects them."""

    def forward(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        count = x.sum().to(torch.int64).item()
        torch._check(count >= 1)
        return torch.full((count + 1,), 1.0).sum().exp()

    program = partition(annotated(forward, (X,), aten.full.default))
    segment = {row.node: row.segment for row in program.ledger}
    assert segment["sum_1"] != segment["exp"]


def test_an_engine_needs_a_tensor_input() -> None:
    program = partition(
        annotated(lambda m, x: torch.arange(4.0).sort().values * x, (X,), aten.sort.default, aten.mul.Tensor)
    )
    code, message = next(reason for name, reason in reasons(program).items() if name.startswith("arange"))
    assert code == "TP304"
    assert "no tensor input" in message


def test_running_twice_gives_the_same_partition() -> None:
    program = partition(annotated(lambda m, x: x.relu().exp().sin().sort().values.cos(), (X,), aten.sort.default), 3)
    before = {node.name: annotations_of(node) for node in program.op_nodes}
    again = partition(program, 3)
    assert {node.name: annotations_of(node) for node in again.op_nodes} == before
    assert again.segments == program.segments


def test_a_failed_node_leaves_and_the_rest_is_partitioned_again() -> None:
    program = partition(annotated(lambda m, x: x.relu().exp().sin(), (X,)))
    set_verdict(program.node("exp"), Verdict.FAILED, [Reason("TP502", "TensorRT said no.")])
    again = partition(program)
    assert [item.nodes for item in again.segments] == [("relu",), ("sin",)]
    assert verdict_of(again.node("exp")) is Verdict.FAILED


def test_long_segments_are_split() -> None:
    def forward(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        for _ in range(10):
            x = x.sin()
        return x

    program = partition(annotated(forward, (X,)), max_segment_nodes=4)
    assert [len(item.nodes) for item in program.segments] == [3, 4, 3]


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="min_block_size=3 and max_segment_nodes=5"):
        partition(annotated(lambda m, x: x.relu(), (X,)), 3, max_segment_nodes=5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int16, torch.complex64])
def test_no_tensor_that_tensorrt_lacks_enters_an_engine_for_its_shape(dtype: torch.dtype) -> None:
    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            below = torch.arange(x.shape[0])[:, None] >= torch.arange(8)
            return torch.where(below, x, 0)

    item = tp.Input(min_shape=(3, 8), opt_shape=(4, 8), max_shape=(11, 8), dtype=dtype)
    compiled = tp.compile(Model(), [item], min_block_size=1, executor="reference")
    for rows in (3, 11):
        x = torch.ones(rows, 8, dtype=dtype)
        torch.testing.assert_close(compiled(x), Model()(x))
