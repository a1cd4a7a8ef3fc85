"""What a report prints: one line as `repr`, the table as `str`, whatever the size of the model."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.analysis.gains import smaller_block_gains

pytest.importorskip("tensorrt_rtx")


class Deep(nn.Module):
    """Many layers, with a sort in their middle: f32[2,8] -> f32[2,8]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(40))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index == 20:
                x = x.cumprod(-1)
        return x


class Small(nn.Module):
    """Three operators, which are few for an engine: f32[2,8] -> f32[2,8]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(torch.relu(x) * 2)


@pytest.fixture(scope="module")
def report() -> tp.Report:
    options = {"torch_executed_ops": {"aten.cumprod"}, "executor": "pytorch"}
    return tp.compile(Deep().eval(), [torch.ones(2, 8)], **options).report


def test_a_report_is_one_line_and_prints_as_its_table(report: tp.Report) -> None:
    assert repr(report) == f"Report(80 of 81 op nodes in TensorRT, 2 engines, {report.seconds:.1f} s)"
    text = str(report)
    assert str(report.table()) in text
    assert len(text) < 1000
    assert all(len(line) < 80 for line in text.splitlines())


def test_what_a_report_holds_is_a_line_too(report: tp.Report) -> None:
    parts = [report.program, report.ledger, report.boundary, report.modules, report.passes[0], report.passes[0].changes]
    for part in (*parts, report.program.segments[0]):
        assert len(repr(part)) < 250, type(part)
        assert "\n" not in repr(part)
    assert repr(report.ledger) == "Ledger(81 op nodes, 80 trt, 1 excluded)"
    assert repr(report.program.segments[0]).startswith("Segment(segment-00, ")
    assert len(str(report.ledger).splitlines()) == 81


def test_build_passes_say_what_they_made(report: tp.Report) -> None:
    done = {record.name: record.done for record in report.passes}
    layers = sum(segment.network.network.num_layers for segment in report.program.segments)
    assert done["convert"] == f"2 networks, {layers} layers"
    assert done["build"].startswith("2 engines, ")
    assert done["splice"] == "2 engine calls in the module"
    assert done["lower.narrow-64bit"] == "nothing changed"


def test_engines_from_a_cache_are_told(tmp_path) -> None:
    model, options = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval(), {"min_block_size": 1, "cache_dir": tmp_path}
    for words in ("1 engine, ", "1 from the cache"):
        report = tp.compile(model, [torch.ones(2, 4)], executor="pytorch", **options).report
        (done,) = (record.done for record in report.passes if record.name == "build")
        assert words in done


def test_a_report_counts_all_seconds(report: tp.Report) -> None:
    assert report.spent["export"] > 0
    assert report.seconds == pytest.approx(report.pass_seconds + sum(report.spent.values()))
    assert report.to_json()["seconds"]["total"] == report.seconds


def test_a_dump_is_counted(tmp_path) -> None:
    report = tp.compile(Deep().eval(), [torch.ones(2, 8)], dryrun=True, dump_dir=tmp_path / "dump").report
    assert report.spent["dump"] > 0.05


def test_nothing_in_tensorrt_says_what_would_help() -> None:
    report = tp.compile(Small(), [torch.ones(2, 8)], dryrun=True).report
    (note,) = (note for note in report.notes if "nothing goes to TensorRT" in note)
    assert "min_block_size is 5; min_block_size=3 allows it" in note
    assert "note: nothing goes to TensorRT" in str(report)
    again = tp.compile(Small(), [torch.ones(2, 8)], dryrun=True, min_block_size=3).report
    assert again.coverage == 1.0
    assert again.notes == ()


def test_smaller_blocks_are_offered_beside_engines() -> None:
    class Parts(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(6):
                x = torch.tanh(x) * 2
            return torch.tanh(x.cumprod(-1))

    options = {"torch_executed_ops": {"aten.cumprod"}, "dryrun": True}
    report = tp.compile(Parts(), [torch.ones(2, 8)], **options).report
    (gain,) = smaller_block_gains(report.program, 5)
    assert gain.change == "lowering min_block_size from 5 to 1"
    assert gain.nodes_gained == 1
    assert report.notes == (), "most of the model is in an engine"


def test_a_split_by_size_is_told() -> None:
    pipeline = "decompose,lower,annotate,partition{min-block-size=1,max-segment-nodes=20}"
    report = tp.compile(Deep().eval(), [torch.ones(2, 8)], pipeline=pipeline).report
    (note,) = (note for note in report.notes if "is split into" in note)
    assert "max-segment-nodes is 20" in note
    assert len(report.segments) >= 4
