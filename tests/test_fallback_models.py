"""Models that must not become one engine: the reasons are right, and the numbers too."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp
from torch import nn

from tests.models import seeded


def compiled_on_example(model: nn.Module, *inputs: torch.Tensor, **options: object) -> tp.Report:
    """Compile to real engines, compare with eager through the reference executor, return the report."""
    compiled = tp.compile(model, list(inputs), executor="reference", **options)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs), model(*inputs))
    report = compiled.report
    assert sum(report.verdicts.values()) == len(report.program.op_nodes)
    assert all(segment.engine_bytes for segment in report.segments)
    return report


def reasons(report: tp.Report, op: str) -> set[str]:
    return {reason.code for row in report.ledger if row.op.startswith(op) for reason in row.reasons}


class Selected(nn.Module):
    """A boolean index in the middle: x f32[8,16] -> f32[u0,4]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16))
        self.second = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.second(y[y.sum(1) > 0])


def test_boolean_index_in_the_middle() -> None:
    report = compiled_on_example(seeded(Selected()), torch.randn(8, 16, generator=torch.Generator().manual_seed(0)))
    assert reasons(report, "aten.index") | reasons(report, "aten.nonzero") == {"TP209"}
    assert len(report.segments) == 2
    assert report.verdicts["rejected"] >= 1


class Attention(nn.Module):
    """Attention written out, twice: x f32[2,8,16] -> f32[2,8,16]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 48) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            q, k, v = layer(x).chunk(3, -1)
            x = x + torch.softmax(q @ k.transpose(-1, -2) / 4, -1) @ v
        return x


def test_excluded_softmax() -> None:
    report = compiled_on_example(
        seeded(Attention()), torch.randn(2, 8, 16), torch_executed_ops={torch.ops.aten.softmax}, min_block_size=2
    )
    excluded = [row for row in report.ledger if row.verdict == "excluded"]
    assert [row.reasons[0].code for row in excluded] == ["TP401", "TP401"]
    assert {"softmax" in row.op for row in excluded} == {True}
    assert len(report.segments) == 3


class Tiny(nn.Module):
    """An operator without converter between two regions that are too small: x f32[4,8] -> f32[4]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(x) * 2
        return torch.tanh(torch.linalg.svdvals(y)) + 1


def test_operator_without_converter_in_a_small_block() -> None:
    report = compiled_on_example(Tiny().eval(), torch.randn(4, 8))
    assert reasons(report, "aten._linalg_svd") == {"TP101"}
    demoted = [row for row in report.ledger if row.verdict == "demoted"]
    assert {row.op for row in demoted} == {"aten.relu", "aten.mul.Tensor", "aten.tanh", "aten.add.Tensor"}
    assert {reason.code for row in demoted for reason in row.reasons} == {"TP301"}
    assert all("min_block_size" in reason.message and "5" in reason.message for reason in demoted[0].reasons)
    assert report.segments == ()


def test_required_full_compilation_says_what_is_in_the_way() -> None:
    with pytest.raises(tp.UserError, match=r"(?s)require_full_compilation.*aten._linalg_svd: TP101"):
        tp.compile(Tiny().eval(), [torch.randn(4, 8)], require_full_compilation=True)
