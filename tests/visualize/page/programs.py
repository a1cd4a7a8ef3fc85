"""What the pages of these tests show: a dumped run of a small model, and made-up runs of any size with any names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from trt_passes.compiler.instruments.dump import Dump
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.manager import PassManager
from trt_passes.compiler.report.report import Report
from trt_passes.compiler.settings import Settings

PASSES = "decompose,lower,annotate,partition"


class Classifier(nn.Module):
    """x f32[2,3,8,8] -> f32[2,4]; `tanh` is left out by the settings of `run`, and float64 by TensorRT."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.features(x).mean((2, 3))
        scores = self.head(torch.tanh(pooled))
        return torch.exp(scores.double()).float() + scores


def run(folder: Path, pipeline: str = PASSES) -> Report:
    """A dumped run of the model."""
    torch.manual_seed(0)
    with torch.no_grad():
        program = Program(torch.export.export(Classifier().eval(), (torch.zeros(2, 3, 8, 8),)))
    settings = Settings(min_block_size=1, torch_executed_ops=frozenset({"aten.tanh"}))
    return PassManager(pipeline, [Dump(folder)], settings).run(program)


def with_engine(data: dict[str, Any]) -> dict[str, Any]:
    """The same data with layers and kernels in the first segment, as a run with TensorRT has them."""
    segment = data["segments"][0]
    nodes = segment["nodes"]
    network = [f"%{name} = LAYER(value=</b>)(%x) : f32[1]  # [fx:{name}]" for name in nodes]
    kernels = [["fused_0", "kgen", nodes[:2], "tactic_1"], *([name, "gemm", [name], None] for name in nodes[2:])]
    engine = {"network": network, "layers": kernels, "engine_bytes": 2048, "build_seconds": 1.5}
    segments = [{**segment, **engine}, *data["segments"][1:]]
    errors = {name: 10.0 ** -(place + 1) for place, name in enumerate(nodes)} | {nodes[0]: None}
    measures = [{"name": "error of the networks", "unit": "relative L2", "values": errors}]
    return {**data, "segments": segments, "measures": measures}


def chain_data(
    nodes: int,
    modules: int = 0,
    names: Sequence[str] = (),
    op: str = "aten.relu",
    source: str = "model.py:1",
    reason: tuple[str, str] = ("TP101", "no converter"),
) -> dict[str, Any]:
    """Data of a page: one pass, `nodes` operators in a chain, every hundredth of which stays in PyTorch.

    Args:
        nodes: how many operators.
        modules: into how many modules they are spread, with ten modules inside each; 0 for a model without modules.
        names: names of the first nodes.
        op, source, reason: of all nodes.
    """
    strings: dict[str, int] = {}

    def text(value: str) -> int:
        return strings.setdefault(value, len(strings))

    called = ["x", *names, *(f"node_{index}" for index in range(nodes - len(names)))]
    rows: list[list[Any]] = [[*map(text, ("x", "input", "x", "", "f32[2,8]", "", "")), 64, []]]
    for index, name in enumerate(called[1:]):
        place = index * modules // nodes if modules else None
        inner = 10 * (index * modules % nodes) // nodes if modules else None
        module = "" if place is None else f"blocks.{place}.part_{inner}"
        reads = called[index]
        row = [name, "operator", op, f"%{reads}", "f32[2,8]", module, source]
        rows.append([*map(text, row), 64, [text(reads)]])
    rows.append([*map(text, ("output", "output", "return", f"[%{called[-1]}]", "", "", "")), None, [text(called[-1])]])
    in_engine = [text("trt"), [], text(""), text("segment-00")]
    stays = [text("unsupported"), [[text(reason[0]), text(reason[1])]], text(""), text("")]
    facts = [0] + [2 if index % 100 == 99 or index < len(names) else 1 for index in range(nodes)] + [0]
    verdicts = {"trt": facts.count(1), "unsupported": facts.count(2)}
    return {
        "schema": 1,
        "run": {
            "versions": {"torch": "2"},
            "command": "",
            "pipeline": "annotate",
            "settings": {},
            "notes": [],
            "verdicts": verdicts,
            "failure": None,
            "boundary": {"crossings": 0, "bytes": 0, "casts": 0, "unknown": 0, "engines": []},
        },
        "failed": None,
        "reproduce": "",
        "passes": [
            {
                "folder": "00-input",
                "name": "input",
                "about": "",
                "graph": 0,
                "facts": 0,
                "seconds": None,
                "changes": None,
                "files": [],
            }
        ],
        "strings": list(strings),
        "nodes": rows,
        "facts": [[], in_engine, stays],
        "graphs": [[0, len(rows)]],
        "fact_lists": [[number for fact in facts for number in (fact, 1)]],
        "modules": {},
        "lines": {source: op},
        "segments": [],
        "islands": [],
        "measures": [],
        "codes": {},
        "styles": {},
        "gains": None,
    }
