from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import trt_passes as tp
from torch import nn

from tests.models import ConvNet, NonZero, seeded


def annotated(model: nn.Module, *inputs: torch.Tensor, **options: object) -> tp.Report:
    settings = tp.Settings.from_options(options)
    program = tp.trace(model.eval(), list(inputs))
    return tp.PassManager("decompose,annotate", [tp.Verify()], settings).run(program)


def codes(report: tp.Report, op: str) -> list[str]:
    return [reason.code for row in report.ledger if row.op == op for reason in row.reasons]


def test_every_op_node_has_one_verdict_and_counts_add_up() -> None:
    report = annotated(seeded(ConvNet()), torch.randn(2, 3, 16, 16))
    assert [row.node for row in report.ledger] == [node.name for node in report.program.op_nodes]
    assert sum(report.verdicts.values()) == len(report.program.op_nodes)


def test_rows_know_module_and_source() -> None:
    report = annotated(seeded(ConvNet()), torch.randn(2, 3, 16, 16))
    row = next(row for row in report.ledger if "convolution" in row.op or "conv2d" in row.op)
    assert row.module == "features.0"
    assert row.source is not None
    assert row.source.startswith("tests/models.py:") or row.source.startswith("models.py:")


def test_data_dependent_size() -> None:
    report = annotated(NonZero(), torch.randn(8))
    assert codes(report, "aten.nonzero") == ["TP209"]
    assert [row.verdict for row in report.ledger if row.op == "aten.mul.Tensor"] == ["trt", "trt"]


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)


def test_random_operators_stay_in_pytorch() -> None:
    report = annotated(Noisy(), torch.randn(3))
    assert [row.reasons[0].code for row in report.ledger if "rand" in row.op] == ["TP207"]


class Double(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double() * 2


def test_float64_is_rejected_with_the_way_out() -> None:
    report = annotated(Double(), torch.randn(3))
    row = next(row for row in report.ledger if row.op == "aten.mul.Tensor")
    assert row.reasons[0].code == "TP201"
    assert "truncate_double" in row.reasons[0].message


@pytest.mark.parametrize("name", ["aten.relu", "aten.relu.default", "aten::relu", torch.ops.aten.relu])
def test_excluded_operators(name: object) -> None:
    report = annotated(seeded(ConvNet()), torch.randn(2, 3, 16, 16), torch_executed_ops={name})
    assert codes(report, "aten.relu") == ["TP401"]
    assert report.verdicts["excluded"] == 1


def test_excluded_operator_is_found_after_decomposition() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU6())
    report = annotated(model, torch.randn(2, 4), torch_executed_ops={"aten.hardtanh"})
    assert report.verdicts["excluded"] >= 1


def test_unknown_operator_has_a_suggestion() -> None:
    with pytest.raises(tp.UserError, match=r"'aten.sofmax', which is not an operator. Did you mean 'aten.softmax'"):
        annotated(nn.ReLU(), torch.randn(3), torch_executed_ops={"aten.sofmax"})
    with pytest.raises(tp.UserError, match="has no overload 'dim_IntLst'"):
        annotated(nn.ReLU(), torch.randn(3), torch_executed_ops={"aten.sum.dim_IntLst"})


def test_operator_that_is_not_called_is_noted() -> None:
    report = annotated(nn.ReLU(), torch.randn(3), torch_executed_ops={"aten.softmax"})
    assert report.notes == ("torch_executed_ops names aten.softmax, which this program does not call.",)


@pytest.mark.parametrize("name", ["features", "features.2", "ReLU", "torch.nn.ReLU"])
def test_excluded_modules(name: str) -> None:
    report = annotated(seeded(ConvNet()), torch.randn(2, 3, 16, 16), torch_executed_modules={name})
    assert codes(report, "aten.relu") == ["TP402"]
    head = [row for row in report.ledger if row.module == "head"]
    assert head
    assert all(row.verdict != "excluded" for row in head)


def test_module_that_matches_nothing_is_noted_with_a_suggestion() -> None:
    report = annotated(seeded(ConvNet()), torch.randn(2, 3, 16, 16), torch_executed_modules={"feature"})
    assert "Did you mean 'features" in report.notes[0]


def test_needs_no_tensorrt() -> None:
    script = """
import sys, torch
sys.modules["tensorrt"] = sys.modules["tensorrt_rtx"] = None
import trt_passes as tp
program = tp.trace(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()).eval(), [torch.randn(2, 4)])
print(tp.PassManager("decompose,lower,annotate,partition{min-block-size=1}", [tp.Verify()]).run(program).coverage)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(result.stdout.strip().splitlines()[-1]) == 1.0
