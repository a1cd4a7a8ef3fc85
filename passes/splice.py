"""The pass `splice`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..compiler.ir.program import Program
from ..compiler.pass_base import Context, Kind, Pass
from ..compiler.runtime.compiled_module import compiled_module
from ..compiler.runtime.cuda_graphs.graph_capture import module_obstacle
from ..compiler.runtime.options import RuntimeOptions
from ..compiler.runtime.spliced_graph import SegmentParts, spliced


@dataclass(frozen=True)
class Splice(Pass):
    """Cut the graph: every segment becomes one call of the operator that runs its engine.

    The program keeps its graph; the result is `Program.compiled`, a `torch.fx.GraphModule` with the model's own
    arguments and results. What is left of the graph runs in PyTorch; sizes that it needs from a segment are computed
    again from shapes that exist outside.

    Before:
        %relu = aten.relu(%x) : f32[4,4]  # segment-00
        %_linalg_svd = aten._linalg_svd(%relu) : (f32[4,4], f32[4], f32[4,4])
    After:
        %segment_00 = trt_passes.execute_engine([%x], %engine, …) : (f32[4,4])
        %relu = getitem(%segment_00, 0) : f32[4,4]
        %_linalg_svd = aten._linalg_svd(%relu) : (f32[4,4], f32[4], f32[4,4])
    """

    name: ClassVar[str] = "splice"
    kind: ClassVar[Kind] = "build"
    requires: ClassVar[frozenset[str]] = frozenset({"built"})
    establishes: ClassVar[frozenset[str]] = frozenset({"spliced"})

    def run(self, program: Program, ctx: Context) -> Program:
        """Set `compiled`."""
        parts = [SegmentParts.of(program, segment) for segment in program.segments]
        exported = spliced(program, parts)
        options = RuntimeOptions.of(ctx.settings)
        compiled = compiled_module(exported, {item.segment.name: item for item in parts}, options, program.left_out)
        reason = module_obstacle(compiled, None) if options.cuda_graphs else None
        if reason is not None:
            ctx.note(f"the module will run without CUDA graphs, because {reason}.")
        return replace(program, compiled=compiled)
