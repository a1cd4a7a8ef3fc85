"""What `calibration`, `check` and names of modules mean for blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit")

X = torch.linspace(-1, 1, 8).reshape(2, 4)


class Grows(nn.Module):
    """A loop that a tensor ends, and a product whose numbers are too large for halves."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(4, 4), nn.Linear(2, 2)

    def forward(self, x: Tensor, factor: float = 1.5) -> Tensor:
        y = x
        while bool(y.abs().max() < 500.0):
            y = y * factor
        return self.last(torch.mm(self.layer(y), y.t()) * 1e-5)


def compiled(model: nn.Module, **options: Any) -> Any:
    torch.manual_seed(0)
    half = {"enabled_precisions": {torch.float16}, "executor": "pytorch", "min_block_size": 1, **options}
    return tp.compile(torch.jit.script(model.eval()), [X], ir="ts", **half)


def test_blocks_are_calibrated_with_what_they_are_given() -> None:
    for batches in ([(X,)], [{"x": X, "factor": 1.5}], [(X, 1.5, "a label")]):
        report = compiled(Grows(), calibration=batches).report
        assert any("float16 cannot hold some values" in note and "aten.mm" in note for note in report.notes)
    with pytest.raises(tp.UserError, match="batch 0 of option 'calibration': argument 'x' of the TorchScript model is"):
        compiled(Grows(), calibration=[("a text",)])
    with pytest.raises(tp.UserError, match="option 'calibration': the model raises"):
        compiled(Grows(), calibration=[(torch.ones(2, 3),)])


def test_blocks_are_checked_with_what_they_are_given() -> None:
    report = compiled(Grows(), check=[X * 7]).report
    assert any(note.startswith("block_01: check:") for note in report.notes)
    with pytest.raises(tp.UserError, match="the inputs of option 'check': argument 'x' of the TorchScript model is a"):
        compiled(Grows(), check=["a text"])

    def largest(expected: Tensor, found: Tensor) -> float:
        return float((expected - found).abs().max())

    report = compiled(Grows(), check=largest, enabled_precisions={torch.float32}).report
    assert any(note.startswith("check: the metric gives") and note.endswith("for forward.") for note in report.notes)


def test_modules_are_known_in_blocks() -> None:
    report = compiled(Grows(), keep_in_float32=["last"]).report
    (note,) = [note for note in report.notes if "keep_in_float32" in note]
    assert "keep_in_float32 has last: linear" in note
    report = compiled(Grows(), torch_executed_ops=["aten.mm"]).report
    assert "stay PyTorch. TP401: torch_executed_ops contains aten.mm." in report.why()
