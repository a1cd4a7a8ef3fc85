"""The pass `splice`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from torch.export.graph_signature import OutputKind

from ..compiler.ir.program import Program
from ..compiler.pass_base import Context, Kind, Pass
from ..compiler.runtime.compiled_module import CompiledModule, compiled_module
from ..compiler.runtime.options import RuntimeOptions
from ..compiler.runtime.spliced_graph import SegmentParts, spliced


def _obstacle(compiled: CompiledModule) -> str | None:
    from ..compiler.runtime.cuda_graphs.graph_capture import module_obstacle

    return module_obstacle(compiled, None)


def _copied_caches(program: Program) -> list[int]:
    """The bytes of every tensor of four dimensions that the model writes to, and an engine not in its memory."""
    kinds = (OutputKind.BUFFER_MUTATION, OutputKind.USER_INPUT_MUTATION)
    written = {spec.arg.name for spec in program.exported.graph_signature.output_specs if spec.kind in kinds}
    found = []
    for segment in program.segments:
        assert segment.engine is not None, "the fact 'built' says that every segment has an engine"
        for name, binding in zip(segment.outputs, segment.engine.spec.outputs, strict=True):
            if name in written and binding.alias is None and len(binding.shape) == 4:
                found.append(math.prod(binding.opt_shape) * binding.dtype.itemsize)
    return found


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
        reason = _obstacle(compiled) if options.cuda_graphs else None
        if reason is not None:
            ctx.note(f"the module will run without CUDA graphs, because {reason}.")
        copied = _copied_caches(program)
        if copied:
            ctx.note(
                f"{len(copied)} caches that the model writes to leave their engine as new tensors, "
                f"{sum(copied)} bytes per call, which are copied to their places then: rows at consecutive "
                "places of [batch, heads, places, width], which nothing reads before, are written in place."
            )
        return replace(program, compiled=compiled)
