"""The pass `build`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from ...compiler.ir.dependencies import producer_of
from ...compiler.ir.engine_spec import EngineArtifact
from ...compiler.ir.ledger import Reason
from ...compiler.ir.program import Program, Repeatable, Segment
from ...compiler.ir.repartition import repartition
from ...compiler.ir.source import source_of
from ...compiler.ir.symbol_ranges import symbol_ranges
from ...compiler.pass_base import Context, Kind, Pass
from ...compiler.tensorrt.build_log import shown
from ...compiler.tensorrt.engine_builder import MAX_LAYERS, BuildError, BuildTimeout, check_settings
from ...compiler.tensorrt.kernel_size import MAX_KERNEL
from ..convert import Convert, SegmentFailed, convert_segment
from ..partition import Partition, check_full_compilation, cut_in_half, operators_of
from .cached import build_with_cache
from .culprits import find_culprits
from .threads import build_concurrently


@dataclass(frozen=True)
class Build(Pass):
    """Make the engine of every segment, several at once, or take it from the engine cache (setting `cache_dir`).

    Where TensorRT builds none, the node that prevents it is found by halving. It gets the verdict `failed`, the program
    is partitioned again without it, and what changed is converted and built; the report says so. A segment with too
    many layers for the builder is split first, and one whose engine takes longer than the setting `build_seconds` then:
    TensorRT-RTX builds in a process of its own, which can be ended, and can crash, alone, unless this one uses a GPU.

    Before:
        %relu = aten.relu(%x) : f32[4]  # segment-00
    After:
        %relu = aten.relu(%x) : f32[4]  # segment-00
    """

    name: ClassVar[str] = "build"
    kind: ClassVar[Kind] = "build"
    requires: ClassVar[frozenset[str]] = frozenset({"converted"})
    establishes: ClassVar[frozenset[str]] = frozenset({"built"})

    def run(self, program: Program, ctx: Context) -> Program:
        """Set `Segment.engine`; segments that have one keep it.

        Raises:
            UserError: a setting that this TensorRT cannot honour, or `require_full_compilation` does not hold.
            BuildError: a build failed, and the setting `pass_through_build_failures` is on.
            Cancelled: the user asked to stop.
        """
        if program.segments:
            check_settings(ctx.tensorrt(), ctx.settings)
        while True:
            program = _split_large(program, ctx)
            check_full_compilation(program, ctx.settings)
            program, errors = _built(program, ctx)
            if not errors:
                return program
            if ctx.settings.pass_through_build_failures:
                raise next(iter(errors.values()))
            slow = {name for name, error in errors.items() if isinstance(error, BuildTimeout)}
            partition, failed = _split_slow(program, slow, ctx)
            failed |= _failed_nodes(program, {name: errors[name] for name in errors if name not in slow}, ctx)
            program = Convert().run(repartition(program, failed, ctx, partition), ctx)


def _built(program: Program, ctx: Context) -> tuple[Program, Mapping[str, BuildError]]:
    """Build what has no engine; also the errors, by name of the segment."""
    results = build_with_cache([segment for segment in program.segments if segment.engine is None], ctx)
    errors = {name: result for name, result in results.items() if isinstance(result, BuildError)}
    engines = {name: result for name, result in results.items() if isinstance(result, EngineArtifact)}
    tensors, segments = program.constants, []
    for segment in program.segments:
        if segment.name in engines:
            weights = [tensors[name] for name in segment.constants]
            # Taken out, so that no engine is there twice while the next one is read.
            results.pop(segment.name)
            segment = replace(segment, engine=engines.pop(segment.name).without(weights))
        segments.append(segment)
    return program.with_segments(tuple(segments)), errors


def _split_large(program: Program, ctx: Context) -> Program:
    """Partition again with smaller segments where a network is more than the builder should get."""
    while True:
        partition = program.partitioned_by
        if not isinstance(partition, Partition):
            return program
        smallest = 2 * partition.floor(ctx.settings)[0]
        waiting = [segment for segment in program.segments if segment.network and segment.engine is None]
        loads = {segment.name: _load(segment) for segment in waiting}
        sizes = {segment.name: len(operators_of(program, segment)) for segment in waiting}
        # So few operators with so many layers as those left out: the builder refuses them, and halving finds which.
        large = [name for name, (load, _) in loads.items() if load > 1 and sizes[name] > smallest]
        if not large:
            return program
        # Less than what the smallest of them has, so that this ends.
        limit = max(smallest, min(int(sizes[name] * 0.8 / loads[name][0]) for name in large))
        ctx.note(
            f"{large[0]} has {loads[large[0]][1]}, more than the builder takes well: segments are split to "
            f"at most {limit} nodes."
        )
        smaller = replace(partition, max_segment_nodes=limit)
        program = Convert().run(smaller.run(program.with_segments(()), ctx), ctx)


def _load(segment: Segment) -> tuple[float, str]:
    """How many times what the builder takes well a segment's network is, and what of it that is, in words."""
    assert segment.network is not None
    size = segment.network.size
    whole = size / MAX_LAYERS, f"{size} TensorRT layers"
    if size <= MAX_KERNEL:
        return whole
    kernel = segment.network.largest_kernel
    return max(whole, (kernel / MAX_KERNEL, f"{kernel} TensorRT layers of arithmetic for one kernel"))


def _split_slow(program: Program, slow: Collection[str], ctx: Context) -> tuple[Repeatable | None, dict[str, Reason]]:
    """The partition that cuts segments whose engines took too long in half, and the nodes of those too small for it."""
    partition, seconds, nodes = program.partitioned_by, ctx.settings.build_seconds, program.nodes_by_name
    failed: dict[str, Reason] = {}
    for segment in (item for item in program.segments if item.name in slow):
        cut = None
        if isinstance(partition, Partition):
            cut = cut_in_half(program, segment, partition.floor(ctx.settings)[0])
        late = f"{segment.name} was not built within {seconds:g} s (build_seconds)"
        if cut is not None and isinstance(partition, Partition):
            partition = replace(partition, cut_before=(*partition.cut_before, cut))
            source = source_of(nodes[cut])
            ctx.note(
                f"{late}: its {len(segment.nodes)} op nodes are split before %{cut}{f' ({source})' if source else ''}, "
                "and both halves are built."
            )
        else:
            reason = Reason("TP503", f"its engine of {len(segment.nodes)} op nodes was not built within {seconds:g} s.")
            failed |= {name: reason for name in segment.nodes if producer_of(nodes[name]) is nodes[name]}
            ctx.note(f"{late}, and is too small to be split: PyTorch runs its {len(segment.nodes)} op nodes.")
    return partition, failed


def _failed_nodes(program: Program, errors: Mapping[str, BuildError], ctx: Context) -> dict[str, Reason]:
    ranges, library = symbol_ranges(program), ctx.tensorrt()

    def attempt(part: Segment) -> tuple[str, ...] | None:
        try:
            network = convert_segment(
                program, part, ctx.converters, library, ranges, use_fp32_acc=ctx.settings.use_fp32_acc
            )
        except SegmentFailed:
            # A part may lack the shape that a size comes from; that is not what is searched for.
            return None
        (result,) = build_concurrently([replace(part, network=network)], ctx).values()
        # One that takes too long is not what is searched for either.
        return result.errors if isinstance(result, BuildError) and not isinstance(result, BuildTimeout) else None

    failed: dict[str, Reason] = {}
    for segment in program.segments:
        if segment.name in errors:
            culprits = find_culprits(program, segment, errors[segment.name].errors, attempt)
            failed |= {name: Reason("TP502", f"TensorRT: {shown(words)}") for name, words in culprits.items()}
            listed = ", ".join(f"%{name}" for name in culprits)
            ctx.note(
                f"{segment.name} could not be built because of {listed}, which PyTorch runs now: "
                f"{shown(next(iter(culprits.values())))}"
            )
    return failed
