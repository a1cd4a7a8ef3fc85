"""Programs to draw, small and the same in every run; verdicts and segments are set by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn
from trt_passes.compiler.ir.annotations import annotate_node, set_verdict
from trt_passes.compiler.ir.ledger import Reason, Verdict
from trt_passes.compiler.ir.program import Program, Segment

REASONS = {
    Verdict.UNSUPPORTED: Reason("TP101", "aten.sort has no converter."),
    Verdict.REJECTED: Reason("TP203", "dimension 1 is s0, but must be static."),
    Verdict.DEMOTED: Reason("TP301", "its engine would have 1 op node, min_block_size is 5."),
    Verdict.EXCLUDED: Reason("TP401", "torch_executed_ops contains aten.sort."),
    Verdict.FAILED: Reason("TP501", "[elementwise] kFLOAT expected."),
}


def portable(text: str) -> str:
    """Text without the folder of this file, which depends on where pytest was started."""
    return re.sub(r"[\w/.-]*programs\.py:", "programs.py:", text)


class Block(nn.Module):
    """x f32[B,8] -> f32[B,8]: four operators."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(x)))


class Stack(nn.Module):
    """Equal blocks one after the other, and a head: x f32[B,8] -> f32[B,3]."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(blocks))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Chain(nn.Module):
    """Two halves with a sort between them: x f32[2,8] -> f32[2,4]."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        values, indices = torch.sort(y, dim=-1)
        return self.second(values + y) + indices.sum()


def export(model: nn.Module, *inputs: torch.Tensor) -> Program:
    """The exported program of a model."""
    with torch.no_grad():
        return Program(torch.export.export(model.eval(), inputs))


def stack(blocks: int = 4) -> Program:
    """Equal blocks one after the other, no verdicts."""
    return export(Stack(blocks), torch.zeros(2, 8))


def judged(program: Program, stays: Mapping[str, Verdict]) -> Program:
    """The program with verdict `trt` for every op node but those in `stays`, whose reasons are made up."""
    for node in program.op_nodes:
        verdict = stays.get(node.name, Verdict.TRT)
        set_verdict(node, verdict, [REASONS[verdict]] if verdict in REASONS else [])
    return program


def partitioned(program: Program, *segments: tuple[str, ...]) -> Program:
    """The program with these segments, given as names of nodes."""
    nodes, made = program.nodes_by_name, []
    for index, names in enumerate(segments):
        inside = {nodes[name] for name in names}
        reads = [source for node in inside for source in node.all_input_nodes if source not in inside]
        constants = program.constants
        inputs = tuple(node.name for node in nodes.values() if node in reads and node.name not in constants)
        outputs = tuple(node.name for node in nodes.values() if node in inside and set(node.users) - inside)
        made.append(Segment(f"segment-{index:02d}", names, inputs, outputs))
        for node in inside:
            annotate_node(node, segment=made[-1].name)
    return program.with_segments(tuple(made))


def chain() -> Program:
    """`Chain`, with the sort and what it returns left to PyTorch between two segments."""
    program = export(Chain(), torch.zeros(2, 8))
    names = [node.name for node in program.op_nodes]
    stays = {name: Verdict.UNSUPPORTED for name in names if name == "sort" or name.startswith("getitem")}
    program = judged(program, stays)
    after = tuple(name for name in names[names.index("sort") :] if name not in stays)
    return partitioned(program, tuple(names[: names.index("sort")]), after)
