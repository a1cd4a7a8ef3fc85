"""What a loaded model tells about the run that made it."""

import copy
import json
from pathlib import Path

import pytest
import torch
import trt_passes as tp
from torch import nn


@pytest.fixture
def reports(tmp_path: Path):
    """The report of a compiled model of two engines, and that of the model once loaded."""
    pytest.importorskip("tensorrt_rtx")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x).relu().cumprod(-1))

    options = {"min_block_size": 1, "torch_executed_ops": {"aten.cumprod"}, "executor": "pytorch"}
    compiled = tp.compile(Model().eval(), [torch.ones(2, 4)], **options)
    tp.save(compiled, tmp_path / "model.pt2")
    return compiled.report, tp.load(tmp_path / "model.pt2").report


def test_a_saved_report_has_the_attributes_of_a_report(reports) -> None:
    made, saved = reports
    assert len(saved.segments) == 2
    for name in ("segments", "verdicts", "coverage", "seconds", "versions", "settings", "pipeline", "schema", "notes"):
        wanted = getattr(made, name)
        assert getattr(saved, name) == (list(wanted) if name == "notes" else wanted), name
    assert [record.name for record in saved.passes] == [record.name for record in made.passes]
    assert saved.passes[0].changes == made.passes[0].changes.counts()


def test_a_saved_report_is_the_data_of_run_json(reports) -> None:
    made, saved = reports
    assert saved == json.loads(json.dumps(made.to_json()))
    assert json.loads(json.dumps(saved)) == saved
    assert copy.deepcopy(saved).segments == saved.segments


def test_what_a_saved_report_lacks_is_named(reports) -> None:
    with pytest.raises(AttributeError, match=r"a saved report has no 'ledger'; it has schema, versions, .*coverage"):
        _ = reports[1].ledger
