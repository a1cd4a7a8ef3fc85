"""The pass `convert`, and the converters by operator family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import sympy

from ...compiler.errors import Cancelled, UserError
from ...compiler.ir.ledger import Reason
from ...compiler.ir.program import Program, Segment
from ...compiler.ir.repartition import repartition
from ...compiler.ir.symbol_ranges import symbol_ranges, unbounded_symbols
from ...compiler.ir.symbols import Range
from ...compiler.ir.weightless import is_weightless
from ...compiler.pass_base import Context, Kind, Pass
from ...compiler.tensorrt.network import BuiltNetwork
from ...compiler.tensorrt.registry import Condition, Converter, Family, Registry, default_registry
from .segment import SegmentFailed, convert_segment

__all__ = [
    "Condition",
    "Convert",
    "Converter",
    "Family",
    "Registry",
    "SegmentFailed",
    "convert_segment",
    "default_registry",
]


@dataclass(frozen=True)
class Convert(Pass):
    """Make the TensorRT network of every segment.

    A node whose converter fails, or which TensorRT refuses, gets the verdict `failed`, and the program is partitioned
    again without it.
    """

    name: ClassVar[str] = "convert"
    kind: ClassVar[Kind] = "build"
    requires: ClassVar[frozenset[str]] = frozenset({"partitioned"})
    establishes: ClassVar[frozenset[str]] = frozenset({"converted"})

    def run(self, program: Program, ctx: Context) -> Program:
        """Convert all segments, again after each repartition.

        Raises:
            SegmentFailed: a node failed, and the setting `pass_through_build_failures` is on.
            Cancelled: the user asked to stop.
        """
        if is_weightless(program.exported):
            raise UserError(
                "convert needs weights, and this program was saved without them, as every program.pt2 of a dump is: "
                "run the pipeline on the model itself, continue the dump with --weights, or stop at partition."
            )
        ranges = symbol_ranges(program)
        for symbol, place in unbounded_symbols(program).items():
            low, usual, high = ranges[symbol]
            ctx.note(
                f"nobody declared how large {place} can be: engines take {low} to {high}, and are tuned for {usual}. "
                "Give inputs with min_shape, opt_shape and max_shape to choose."
            )
        while True:
            failures: dict[str, Reason] = {}
            segments: list[Segment] = []
            for segment in program.segments:
                try:
                    # Repartitioning keeps the networks of segments that it did not change.
                    network = segment.network or self._network(program, segment, ranges, ctx)
                    segments.append(replace(segment, network=network))
                except SegmentFailed as error:
                    if ctx.settings.pass_through_build_failures:
                        raise
                    failures.update(error.failures)
                    segments.append(segment)
            program = program.with_segments(tuple(segments))
            if not failures:
                return program
            program = repartition(program, failures, ctx)

    @staticmethod
    def _network(
        program: Program, segment: Segment, ranges: Mapping[sympy.Symbol, Range], ctx: Context
    ) -> BuiltNetwork:
        def step(done: int) -> None:
            if ctx.cancelled():
                raise Cancelled(f"stopped while converting {segment.name}")
            ctx.progress(f"convert {segment.name}", done, len(segment.nodes))

        return convert_segment(
            program,
            segment,
            ctx.converters,
            ctx.tensorrt(),
            ranges,
            step,
            use_fp32_acc=ctx.settings.use_fp32_acc,
        )
