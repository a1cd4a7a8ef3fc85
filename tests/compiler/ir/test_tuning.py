"""What a tuning says of variants, and files of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.ir.tuning import Measured, Tuning, pattern_of

VARIANTS = {
    "layer": Measured(1100.0, 3e-2),
    "products": Measured(100.0, 2e-3),
    "exact": Measured(300.0, 5e-4),
    "pytorch": Measured(160.0, 9e-4),
}
TUNING = Tuning("NVIDIA H200", {"torch": "2.11"}, {"aten.resize(f16[4,8])": VARIANTS})
ALL = ("layer", "products", "exact")


@pytest.mark.parametrize(
    ("options", "best"),
    [
        ({"preset": "fast"}, "products"),
        ({"preset": "exact"}, "exact"),
        ({}, "exact"),
        ({"preset": "fast", "max_error": 1e-3}, "exact"),
        ({"preset": "fast", "max_error": 6e-4}, "exact"),
        ({"preset": "fast", "max_error": 1e-9}, "exact"),
        ({"max_error": 1.0}, "exact"),
    ],
)
def test_presets_and_limits_choose(options: dict[str, Any], best: str) -> None:
    assert TUNING.best("aten.resize(f16[4,8])", ALL, **options) == best


def test_what_was_not_measured_or_is_not_possible_has_no_best() -> None:
    assert TUNING.best("aten.resize(f16[4,9])", ALL) is None
    assert TUNING.best("aten.resize(f16[4,8])", ()) is None
    assert TUNING.best("aten.resize(f16[4,8])", ("layer",), preset="fast") == "layer"


def test_pytorch_is_the_best_only_where_no_variant_is_allowed() -> None:
    # What is faster in PyTorch is decided for a whole part of the graph: tests/passes/partition/test_by_time.py.
    known = {"layer": Measured(10.0, 1e-2), "pytorch": Measured(1.0, 1e-4)}
    tuning = Tuning("G", {}, {"p": known}, border_us=1.0)
    assert tuning.best("p", ("layer",), preset="fast") == "layer"
    assert tuning.best("p", ("layer",), preset="fast", max_error=1e-3) == "pytorch"


def test_a_tuning_is_written_and_read(tmp_path: Path) -> None:
    TUNING.save(tmp_path / "tuning.json")
    assert Tuning.load(tmp_path / "tuning.json") == TUNING


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.pop("kind"),
        lambda data: data.pop("gpu"),
        lambda data: data.update(patterns=[]),
        lambda data: data["patterns"]["aten.resize(f16[4,8])"]["layer"].update(us="1"),
        lambda data: data["patterns"]["aten.resize(f16[4,8])"]["layer"].update(us=-1),
        lambda data: data["patterns"]["aten.resize(f16[4,8])"]["layer"].update(error=True),
        lambda data: data["patterns"].update({"p": 3}),
        lambda data: data.update(schema="1"),
        lambda data: data.update(schema=99),
    ],
)
def test_hand_edited_files_are_checked(tmp_path: Path, edit: Any) -> None:
    data = json.loads(json.dumps(TUNING.to_json()))
    edit(data)
    (tmp_path / "t.json").write_text(json.dumps(data))
    with pytest.raises(tp.UserError, match=r"t\.json (is no tuning file|has schema)"):
        Tuning.load(tmp_path / "t.json")


@pytest.mark.parametrize("text", ["", "[1", "null", "3"])
def test_what_is_no_json_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(tp.UserError, match="no tuning file"):
        tp.Settings(tuning=str(tmp_path / "t.json"))
    with pytest.raises(tp.UserError, match="cannot read"):
        tp.Settings(tuning=str(tmp_path / "none.json"))


def test_patterns_are_the_same_for_the_same_work() -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x)) + self.a(x[:1])

    program = tp.trace(Twice().eval(), [tp.Input.parse("1..2..4x4")])
    linears = [node for node in program.op_nodes if "linear" in node.name]
    patterns = [pattern_of(node, program.constants) for node in linears]
    assert patterns[0] == patterns[1] == "aten.linear(f32[2,4], const f32[4,4], const f32[4])"
    assert patterns[2] == "aten.linear(f32[1,4], const f32[4,4], const f32[4])"
