"""A pass of your own in the pipeline: compute every GELU with its tanh approximation.

python examples/custom_pass.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import trt_passes as tp
from torch import nn

GELU = torch.ops.aten.gelu.default


@dataclass(frozen=True)
class FastGelu(tp.Pass):
    """Replace the exact GELU by its tanh approximation, which is off by at most 5e-4.

    Before:
        %gelu = aten.gelu(%linear) : f32[2,32]
    After:
        %gelu = aten.gelu(%linear, approximate='tanh') : f32[2,32]
    """

    name: ClassVar[str] = "fast-gelu"

    def run(self, program: tp.Program, ctx: tp.Context) -> tp.Program:
        """Edit the graph, which is the pass's own copy, in place."""
        exact = [node for node in program.op_nodes if node.target is GELU and not node.kwargs]
        for node in exact:
            node.kwargs = {"approximate": "tanh"}
        ctx.note(f"fast-gelu: {len(exact)} GELUs are approximated.")
        return program


def model() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """A small network with two GELUs: x f32[2,16] -> f32[2,4]."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 4))
    return layers.eval(), (torch.randn(2, 16),)


def main() -> tp.Report:
    """Run the usual pipeline up to `partition` with the pass behind `lower`, and say what it did."""
    module, inputs = model()
    pipeline = tp.Pipeline.parse("decompose,lower,annotate,partition").insert_after("lower", FastGelu())
    report = tp.PassManager(pipeline, instruments=[tp.Verify()]).run(tp.trace(module, inputs))
    print(report.pipeline)
    for record in report.passes:
        print(f"{record.name:28} {record.changes}")
    print(*report.notes, sep="\n")
    return report


if __name__ == "__main__":
    main()
