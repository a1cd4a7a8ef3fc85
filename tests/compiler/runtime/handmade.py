"""Partitioned and "built" programs without the converters: verdicts by a rule, engines that hold no plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node
from trt_passes.compiler.ir.annotations import set_verdict
from trt_passes.compiler.ir.engine_spec import Binding, EngineArtifact, EngineSpec
from trt_passes.compiler.ir.ledger import Reason, Verdict
from trt_passes.compiler.ir.program import Program, Segment
from trt_passes.compiler.ir.symbol_ranges import symbol_ranges
from trt_passes.compiler.ir.symbols import dim_range, dims_of
from trt_passes.compiler.pass_base import Context
from trt_passes.compiler.settings import Settings
from trt_passes.passes.partition import Partition
from trt_passes.passes.splice import Splice


def partitioned(
    exported: torch.export.ExportedProgram, in_trt: Callable[[Node], bool], min_block_size: int = 1
) -> Program:
    """The program partitioned with the op nodes that `in_trt` accepts in TensorRT."""
    program = Program(exported.run_decompositions({}))
    for node in program.op_nodes:
        if in_trt(node):
            set_verdict(node, Verdict.TRT)
        else:
            set_verdict(node, Verdict.UNSUPPORTED, [Reason("TP101", "left out by the test")])
    return Partition(min_block_size=min_block_size).run(program, Context())


def with_empty_engines(program: Program) -> Program:
    """Every segment with an engine whose specification is right and whose plan is nonsense."""
    return program.with_segments(tuple(replace(s, engine=empty_engine(program, s)) for s in program.segments))


def empty_engine(program: Program, segment: Segment) -> EngineArtifact:
    """An engine that TensorRT refuses, with the specification of the segment."""
    spec = EngineSpec(
        segment.name,
        "tensorrt_rtx",
        "1.6.1.120",
        tuple(binding(program, name) for name in segment.inputs),
        tuple(binding(program, name) for name in segment.outputs),
    )
    return EngineArtifact(memoryview(bytearray(b"no engine")), spec, 0.0)


def binding(program: Program, name: str) -> Binding:
    """The binding of a node's tensor."""
    value = program.node(name).meta["val"]
    dims = dims_of(value.shape)
    ranges = dict(symbol_ranges(program))
    corners = [dim_range(dim, ranges) for dim in dims]
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in dims)
    low, usual, high = (tuple(corner[i] for corner in corners) for i in range(3))
    return Binding(name, value.dtype, shape, low, usual, high)


def spliced(
    model: torch.nn.Module,
    args: tuple[Any, ...],
    in_trt: Callable[[Node], bool],
    *,
    kwargs: dict[str, Any] | None = None,
    dynamic_shapes: Any = None,
    executor: str = "pytorch",
) -> torch.fx.GraphModule:
    """The model compiled with engines that cannot run, so that its segments run in PyTorch."""
    exported = torch.export.export(model.eval(), args, kwargs, dynamic_shapes=dynamic_shapes)
    program = with_empty_engines(partitioned(exported, in_trt))
    ctx = Context(settings=Settings.from_options({"executor": executor}))
    compiled = Splice().run(program, ctx).compiled
    assert compiled is not None
    return compiled
