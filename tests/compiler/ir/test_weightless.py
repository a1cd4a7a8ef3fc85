"""Programs saved without weights."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._export.serde import serialize
from trt_passes.compiler.instruments.side_process import SideProcess
from trt_passes.compiler.ir.weightless import archive, save_without_rehearsal, weightless


class Everything(nn.Module):
    """Parameters of two dtypes, shared, frozen, 0-d and empty; a buffer, a mutated buffer and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(512, 512))
        self.tied = self.weight
        self.frozen = nn.Parameter(torch.randn(512, 512, dtype=torch.float16), requires_grad=False)
        self.register_buffer("table", torch.arange(100_000))
        self.register_buffer("count", torch.tensor(3.0))
        self.scale, self.nothing = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.zeros(0, 4))
        self.constant = torch.randn(300, 300)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count.add_(1)
        y = x @ self.weight @ self.tied + self.frozen.float().sum() + self.table.sum() + self.constant.sum()
        return y * self.scale + self.count + self.nothing.sum()


def test_small_archive_that_loads_as_the_same_program() -> None:
    exported = torch.export.export(Everything(), (torch.randn(1024, 512),))
    data = archive(weightless(exported))
    assert len(archive(exported)) > 2_000_000
    assert len(data) < 100_000
    loaded = torch.export.load(io.BytesIO(data))
    assert [str(node) for node in loaded.graph.nodes] == [str(node) for node in exported.graph.nodes]
    assert loaded.graph_signature == exported.graph_signature
    for known, found in ((exported.state_dict, loaded.state_dict), (exported.constants, loaded.constants)):
        assert set(known) == set(found)
        for name, tensor in known.items():
            assert (found[name].shape, found[name].dtype) == (tensor.shape, tensor.dtype)
            assert isinstance(found[name], nn.Parameter) == isinstance(tensor, nn.Parameter)
            assert found[name].requires_grad == tensor.requires_grad
    assert loaded.module()(torch.ones(1024, 512)).shape == (1024, 512)


def test_saving_without_rehearsal_writes_the_same_bytes_and_changes_nothing_here(tmp_path: Path) -> None:
    hollow = weightless(torch.export.export(Everything(), (torch.randn(4, 512),)))
    canonicalize = serialize.canonicalize
    file, calls = tmp_path / "program.pt2", tmp_path / "calls"

    def save() -> None:
        file.write_bytes(archive(hollow))
        calls.write_text("here" if serialize.canonicalize is canonicalize else "without")

    SideProcess(save, save_without_rehearsal).finish()
    assert file.read_bytes() == archive(hollow)
    assert calls.read_text() == ("without" if hasattr(os, "fork") else "here")
    assert serialize.canonicalize is canonicalize


def test_the_program_itself_keeps_its_weights() -> None:
    exported = torch.export.export(Everything(), (torch.randn(4, 512),))
    weight = exported.state_dict["weight"]
    archive(weightless(exported))
    assert exported.state_dict["weight"] is weight
    assert weight.any()
    assert exported.example_inputs[0][0].any()


def test_a_dumped_program_is_resumed_but_never_built_without_weights(tmp_path: Path) -> None:
    import trt_passes as tp

    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
    dump = tp.Dump(tmp_path / "dump")
    tp.PassManager("decompose,lower,annotate", [dump]).run(tp.trace(model, [torch.randn(2, 4)]))
    (saved,) = (tmp_path / "dump").glob("*-annotate/program.pt2")
    program = tp.trace(torch.export.load(saved))
    report = tp.PassManager("partition{min-block-size=1}").run(program)
    assert [segment.ops for segment in report.segments] == [3]
    with pytest.raises(tp.UserError, match="convert needs weights"):
        tp.PassManager("partition{min-block-size=1},convert").run(program)
