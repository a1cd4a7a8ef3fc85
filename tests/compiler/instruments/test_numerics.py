from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.instruments.numerics import distance

from tests.models import ConvNet, Sorted, seeded


@pytest.mark.parametrize(
    ("expected", "found", "answer"),
    [
        ([3.0, 4.0], [3.0, 4.0], (0.0, 0.0)),
        ([3.0, 4.0], [3.0, 4.5], (0.5, 0.1)),
        ([0.0, 0.0], [0.0, 0.5], (0.5, 0.5)),
        ([math.nan, math.inf], [math.nan, math.inf], (0.0, 0.0)),
        ([math.nan, 4.0], [1.0, 4.0], (0.0, 0.0)),
        ([1.0, 2.0], [1.0, math.nan], (math.inf, math.inf)),
        ([1.0, -math.inf], [1.0, math.inf], (math.inf, math.inf)),
    ],
)
def test_distance(expected: list[float], found: list[float], answer: tuple[float, float]) -> None:
    assert distance(torch.tensor(expected), torch.tensor(found)) == pytest.approx(answer)


def test_distance_of_other_shapes_and_types_is_infinite() -> None:
    assert distance(torch.zeros(2), torch.zeros(3)) == (math.inf, math.inf)
    assert distance(torch.zeros(2), torch.zeros(2).half()) == (math.inf, math.inf)
    assert distance(torch.zeros(0, 2), torch.zeros(0, 2)) == (0.0, 0.0)
    assert distance(torch.tensor([True, False]), torch.tensor([True, True])) == pytest.approx((1.0, 1.0))


def test_networks_are_compared_output_by_output() -> None:
    program = tp.trace(seeded(Sorted()), [tp.Input.parse("1..2..4x8")])
    numerics = tp.Numerics()
    settings = tp.Settings.from_options({"torch_executed_ops": {"aten.sort"}, "min_block_size": 1})
    tp.PassManager("decompose,lower,annotate,partition,convert", [tp.Verify(), numerics], settings).run(program)
    networks = [row for row in numerics.rows if row.pass_name == "convert"]
    assert [row.output.split("/")[0] for row in networks] == ["segment-00", "segment-01"]
    assert all(row.relative_l2 < 1e-5 for row in networks)


def test_a_wrong_network_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from trt_passes.compiler.tensorrt import executor

    right = executor.ReferenceExecutor.run

    def wrong(self: object, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value * 1.5 for name, value in right(self, inputs).items()}

    monkeypatch.setattr(executor.ReferenceExecutor, "run", wrong)
    program = tp.trace(seeded(ConvNet()), [torch.randn(2, 3, 16, 16)])
    with pytest.raises(
        tp.PassFailure,
        match=r"%\w+, which leaves the network of segment-00, differs from the model's: relative L2 5\.00e-01",
    ):
        tp.PassManager("decompose,lower,annotate,partition,convert", [tp.Numerics()]).run(program)


def test_without_stop_divergence_is_recorded_only() -> None:
    program = tp.trace(seeded(ConvNet()), [torch.randn(2, 3, 16, 16)])
    numerics = tp.Numerics(tolerance=1e-30, stop=False)
    tp.PassManager("decompose,lower", [numerics]).run(program)
    assert numerics.rows
    assert "relative L2" in str(numerics)


class Roots(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x.sqrt())


def test_elements_that_are_nan_in_the_model_itself_are_not_compared() -> None:
    numerics = tp.Numerics()
    program = tp.trace(Roots(), [torch.tensor([-1.0, 4.0])])
    report = tp.PassManager("decompose,lower,annotate,partition{min-block-size=1},convert", [numerics]).run(program)
    assert all(row.relative_l2 == 0 for row in numerics.rows)
    assert report.notes[0] == "1 of 2 elements of output are NaN in the model itself: not compared."


class Picks(torch.nn.Module):
    def forward(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return x[index]


def test_a_model_that_raises_is_not_blamed_on_a_pass() -> None:
    program = tp.trace(Picks(), [torch.randn(3), torch.tensor([1])])
    numerics = tp.Numerics([torch.randn(3), torch.tensor([7])])
    with pytest.raises(
        tp.UserError, match=r"the model itself raises IndexError on these inputs at .*test_numerics\.py:\d+: index 7"
    ):
        tp.PassManager("decompose", [numerics]).run(program)


def test_a_failed_check_can_be_reproduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trt_passes.compiler.cli.reproduce import reproduce
    from trt_passes.compiler.instruments.dump import Dump
    from trt_passes.passes.lower import FoldConstants

    def wrong(self: object, program: tp.Program, ctx: tp.Context) -> tp.Program:
        for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default):
            node.target = torch.ops.aten.neg.default
        return program

    program = tp.trace(Roots(), [torch.tensor([1.0, 4.0])])
    with monkeypatch.context() as patch:
        patch.setattr(FoldConstants, "run", wrong)
        with pytest.raises(tp.PassFailure, match=r"lower\.fold-constants.*differs from the model's"):
            tp.PassManager("decompose,lower", [tp.Numerics(), Dump(tmp_path)]).run(program)
        with pytest.raises(tp.PassFailure, match=r"lower\.fold-constants.*differs from the model's"):
            reproduce(tmp_path / "repro")
    reproduce(tmp_path / "repro")
