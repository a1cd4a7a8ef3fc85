"""Coverage by module with numbers worked out by hand."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from trt_passes.compiler.ir.ledger import Ledger, LedgerRow, Verdict
from trt_passes.compiler.report.coverage import ModuleCoverage, from_csv, module_coverage

from tests.compiler.analysis.partitioned import exported, judged, partitioned


def row(module: str, verdict: Verdict = Verdict.TRT) -> LedgerRow:
    return LedgerRow("node", "aten.relu", verdict, module=module)


ROWS = (
    row("stem"),
    row("layers.0.attention"),
    row("layers.0.attention", Verdict.REJECTED),
    row("layers.0"),
    row("layers.1", Verdict.DEMOTED),
    row(""),
)


def test_modules_count_what_is_in_them() -> None:
    attention = ModuleCoverage("layers.0.attention", 2, 1)
    layers = ModuleCoverage(
        "layers", 4, 2, (ModuleCoverage("layers.0", 3, 2, (attention,)), ModuleCoverage("layers.1", 1, 0))
    )
    assert module_coverage(ROWS) == ModuleCoverage("", 6, 4, (ModuleCoverage("stem", 1, 1), layers))


def test_text_csv_and_json() -> None:
    tree = module_coverage(ROWS)
    assert str(tree).splitlines() == [
        "(model)  4 of 6 op nodes, 66.7 %",
        "  stem  1 of 1 op nodes, 100 %",
        "  layers  2 of 4 op nodes, 50.0 %",
        "    0  2 of 3 op nodes, 66.7 %",
        "      attention  1 of 2 op nodes, 50.0 %",
        "    1  0 of 1 op nodes, 0 %",
    ]
    assert tree.to_csv().splitlines() == [
        "module,depth,ops,trt,percent,error,seconds",
        ",0,6,4,66.7,,",
        "stem,1,1,1,100.0,,",
        "layers,1,4,2,50.0,,",
        "layers.0,2,3,2,66.7,,",
        "layers.0.attention,3,2,1,50.0,,",
        "layers.1,2,1,0,0.0,,",
    ]
    assert json.loads(json.dumps(tree.to_json()))["children"][1]["share"] == 0.5


def test_errors_are_the_largest_and_seconds_add_up() -> None:
    rows = [LedgerRow(name, "aten.relu", Verdict.TRT, module=module) for name, module in NODES.items()]
    tree = module_coverage(rows, {"a": 1e-3, "b": 2e-3}, {"b": 0.25, "c": 0.5})
    assert {item.path: (item.error, item.seconds) for item in tree.walk()} == {
        "": (2e-3, 0.75),
        "x": (2e-3, 0.75),
        "x.y": (2e-3, 0.25),
        "z": (None, None),
    }
    assert str(tree).splitlines()[1] == "  x  3 of 3 op nodes, 100 %, error 2.0e-03, 750 ms"
    assert from_csv(tree.to_csv()) == tree


NODES = {"a": "x", "b": "x.y", "c": "x", "d": "z"}


def test_csv_round_trips_and_other_tables_are_refused() -> None:
    assert from_csv(module_coverage(ROWS).to_csv()) == module_coverage(ROWS)
    with pytest.raises(ValueError, match="columns"):
        from_csv("module,ops\n,1\n")


def test_almost_everything_is_not_100_percent() -> None:
    tree = module_coverage([*(row("") for _ in range(9999)), row("", Verdict.FAILED)])
    assert tree.share_text == "99.9 %"


def test_an_empty_model_is_covered() -> None:
    assert (module_coverage(()).share, module_coverage(()).share_text) == (1.0, "100 %")


def test_a_program_and_its_ledger_read_back() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Sequential(nn.ReLU())])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                x = block(x)
            return x.exp()

    program = partitioned(judged(exported(Model(), (torch.randn(2, 2),)), {"tanh"}))
    tree = module_coverage(program.ledger)
    assert [(item.path, item.ops, item.trt) for item in tree.walk()] == [
        ("", 4, 3),
        ("blocks", 3, 2),
        ("blocks.0", 2, 1),
        ("blocks.0.0", 1, 1),
        ("blocks.0.1", 1, 0),
        ("blocks.1", 1, 1),
        ("blocks.1.0", 1, 1),
    ]
    assert module_coverage(Ledger.from_jsonl(program.ledger.to_jsonl().splitlines())) == tree
