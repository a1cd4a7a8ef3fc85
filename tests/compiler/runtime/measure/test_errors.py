"""How exact nodes are, node by node, against float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.runtime.measure.distance import lost_rows

from tests.models import ConvNet, Counter, NonZero, Sorted, seeded

HALF = {"enabled_precisions": {torch.float16}, "min_block_size": 1, "executor": "reference"}


class Rounded(nn.Module):
    """One line that rounds to halves between two that hardly round: x f32[B,8] -> f32[B,8]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 3.1
        y = (y + 0.1).half().float()
        return y * 0.3


def test_the_line_that_rounds_brings_most_of_the_error() -> None:
    x = torch.rand(4, 8) + 1
    errors = tp.compile(Rounded().eval(), [x], min_block_size=1, executor="reference").errors(x)
    line = errors.worst()[0]
    assert {row.op for row in line.nodes} >= {"aten._to_copy"}
    assert line.added > 100 * sum(other.added for other in errors.lines()[1:])
    exact = (((x * 3.1) + 0.1).half().double()) * 0.3
    wide = ((x.double() * 3.1) + 0.1) * 0.3
    assert errors.output == pytest.approx(float((exact - wide).norm() / wide.norm()), rel=1e-2)


def test_every_tensor_node_has_its_error() -> None:
    model, x = seeded(ConvNet()), torch.randn(2, 3, 16, 16)
    module = tp.compile(model, [x], **HALF)
    errors = module.errors(x)
    names = {row.node for row in module.report.ledger if not row.op.endswith("getitem")}
    assert {row.node for row in errors.rows} == names
    assert all(0 <= row.added < 1e-2 and row.error < 1e-1 for row in errors.rows)
    assert "tests/models.py:" in str(errors)
    assert errors.first_nan is None


def test_nodes_between_engines_are_compared_too() -> None:
    model, x = seeded(Sorted()), torch.randn(3, 8)
    errors = tp.compile(model, [x], torch_executed_ops={"aten.sort"}, **HALF).errors(x)
    by_name = {row.node: row for row in errors.rows}
    assert by_name["sort"].segment is None
    assert by_name["sort"].added == 0
    assert by_name["sort"].error > 1e-5
    assert {row.segment for row in errors.rows} == {None, "segment-00", "segment-01"}


def test_values_come_from_the_network_not_from_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong network has an error where PyTorch's graph of the segment has none."""
    from trt_passes.compiler.tensorrt.executor import run

    model, x = seeded(Sorted()), torch.randn(3, 8)
    module = tp.compile(model, [x], min_block_size=1, executor="reference", torch_executed_ops={"aten.sort"})
    assert module.errors(x).output < 1e-6
    right = run._Run._evaluate

    def wrong(self: object, layer: object, values: object) -> tuple[torch.Tensor, ...]:
        results = right(self, layer, values)
        return tuple(value * 1.5 for value in results) if "tanh" in layer.name else results

    monkeypatch.setattr(run._Run, "_evaluate", wrong)
    errors = module.errors(x)
    assert errors.worst()[0].nodes[0].node == "tanh"
    assert errors.worst()[0].nodes[0].added == pytest.approx(0.5, rel=1e-5)
    assert errors.output > 1e-3


@pytest.mark.parametrize("model", [Counter(), NonZero()])
def test_state_and_sizes_of_values(model: nn.Module) -> None:
    x = torch.linspace(-1, 1, 8 if isinstance(model, NonZero) else 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    module = tp.compile(model.eval(), [x], min_block_size=1, executor="reference")
    assert module.errors(x).output < 1e-6
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_loaded_module_compares_its_pytorch_graphs(tmp_path: Path) -> None:
    model, x = seeded(ConvNet()), torch.randn(2, 3, 16, 16)
    tp.save(tp.compile(model, [x], **HALF), tmp_path / "m.pt2")
    errors = tp.load(tmp_path / "m.pt2", executor="pytorch").errors(x)
    assert "their PyTorch graphs" in str(errors)
    assert 1e-5 < errors.output < 1e-2


@pytest.mark.parametrize(
    ("rows", "lost"),
    [
        ([[1.0] * 16], 0),
        ([[1e-9] * 16], 1),
        ([[0.0] * 16], 0),
        ([[1e5] * 16], 1),
        ([[1.0] + [1e-9] * 15], 0),
        ([[float("-inf")] * 8 + [1.0] * 8], 0),
        ([[float("nan")] * 16], 0),
        ([[1e-30] * 16, [1.0] * 16], 1),
        ([[1e30] * 16, [6e4] * 16], 1),
        ([[3e-6] * 16], 0),
    ],
)
def test_rows_that_halves_lose(rows: list[list[float]], lost: int) -> None:
    assert lost_rows(torch.tensor(rows), torch.float16)[:2] == (lost, len(rows))


def test_a_single_small_number_is_no_loss() -> None:
    x = torch.ones(4, 4, 2)
    x[0, 0] = 1e-9
    assert lost_rows(x, torch.float16)[0] == 0
    assert lost_rows(torch.zeros(0, 3), torch.float16) == (0, 0, 0.0)
    assert lost_rows(torch.tensor(1e-9), torch.float16)[:2] == (1, 1)
