"""The pass manager: runs passes in the order given, computes what changed, and tells the instruments."""

from __future__ import annotations

import functools
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from .errors import PassFailure, UserError
from .frontends.mutable_weights import with_mutable
from .instruments.logged import LOGGER, Logged
from .instruments.protocol import Failure, Instrument, Step
from .instruments.verify import Verify
from .ir.change import Change, Snapshot
from .ir.collectives import collectives_in, keep_unread
from .ir.program import Program, Segment
from .ir.records import PassRecord, SegmentRecord
from .ir.source import node_at, source_of
from .ir.text import type_text
from .ir.tracing import tracing
from .pass_base import Context, Pass
from .pipeline import KNOWN_FACTS, Pipeline, as_pipeline, default_pipeline, facts_of
from .report.report import Report
from .report.versions import versions
from .runtime.program_arguments import eager_module
from .settings import Settings
from .undo import can_undo, is_ours, note_of


class PassManager:
    """Runs a pipeline on programs.

    Args:
        pipeline: a `Pipeline`, its text, or passes.
        instruments: called around every pass, in this order.
        settings: options of the compilation; or options as keyword arguments of `Settings`.
        ctx: what passes may use; by default made from the settings.
        command: the shell command that asked for it, for the report.
        spent: seconds that it took to come here, such as those of "export", for the report.
    """

    def __init__(
        self,
        pipeline: str | Pipeline | Sequence[Pass],
        instruments: Sequence[Instrument] = (),
        settings: Settings | None = None,
        ctx: Context | None = None,
        command: str = "",
        spent: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.pipeline = as_pipeline(pipeline)
        self.instruments = tuple(instruments)
        for item in self.instruments:
            if not isinstance(item, Instrument):
                raise UserError(
                    f"the instrument {item!r} is none: give objects of subclasses of trt_passes.Instrument."
                )
        self.ctx = _with_partition(ctx or Context(settings=settings or Settings()), self.pipeline)
        self.command, self.spent = command, spent

    def run(self, program: Program | ExportedProgram) -> Report:
        """Run all passes and return the report.

        Raises:
            UserError: the order of the passes cannot work, or a pass found a mistake of the user's.
            PassFailure: a pass raised or broke a promise; the original exception is its cause.
        """
        if isinstance(program, ExportedProgram):
            program = Program(program)
        self.pipeline.check(facts_of(program))
        program = with_mutable(program, self.ctx.settings.mutable_weights)
        keep_unread(collectives_in(program.graph))
        with tracing(), _tensors_on_cpu():
            return self._run(program)

    def _run(self, program: Program) -> Report:
        notes = [] if program.quantisation is None else [program.quantisation.text()]
        records: list[PassRecord] = []
        ctx = replace(self.ctx, note=notes.append, cancelled=self._cancelled)
        if ctx.settings.check is not None or ctx.settings.calibration is not None:
            from .instruments.check import losses

            ctx = replace(ctx, lost=functools.partial(losses, ctx.settings))
        failure: str | None = None
        clock = _Clock()
        for instrument in self.instruments:
            with clock.counting(instrument):
                instrument.before_pipeline(self.pipeline, program, ctx)
        snapshot = Snapshot.of(program)
        try:
            for index, item in enumerate(self.pipeline):
                if not all(instrument.should_run(item, program) for instrument in self.instruments):
                    continue
                said = len(notes)
                step, snapshot = self._step(index, item, program, snapshot, ctx, clock)
                if step.undone is not None:
                    notes[said:] = [note_of(step.undone)]
                program = step.after
                records.append(step.record)
        except BaseException as error:
            failure = f"{type(error).__name__}: {error}".strip(": ")
            raise
        finally:
            report = self._report(program, records, notes, failure, clock)
            for instrument in self.instruments:
                with clock.counting(instrument):
                    instrument.after_pipeline(report)
        report = report.with_spent(**clock.spent(report.pass_seconds))
        for instrument in self.instruments:
            instrument.finished(report)
        return report

    def _cancelled(self) -> bool:
        return self.ctx.cancelled() or any(instrument.should_stop() for instrument in self.instruments)

    def _step(
        self, index: int, item: Pass, program: Program, before: Snapshot, ctx: Context, clock: _Clock
    ) -> tuple[Step, Snapshot]:
        for instrument in self.instruments:
            with clock.counting(instrument):
                instrument.before_pass(index, item, program)
        asked: Instrument | None = None
        left: list[Program] = []
        try:
            self._require(item, program)
            step, after = self._ran(index, item, program, before, ctx, clock, left)
            for asked in self.instruments:
                with clock.counting(asked):
                    asked.after_pass(step)
        except BaseException as error:
            shown = self._shown(item, program, error)
            for instrument in self.instruments:
                instrument.on_failure(Failure(index, item, program, shown, asked, left[-1] if left else None))
            if shown is error:
                raise
            raise shown from error
        return step, after

    def _ran(
        self,
        index: int,
        item: Pass,
        program: Program,
        before: Snapshot,
        ctx: Context,
        clock: _Clock,
        left: list[Program],
    ) -> tuple[Step, Snapshot]:
        """What a pass did; nothing, where it failed and can be undone. `left` gets what it worked on and returned."""
        started = time.perf_counter()
        try:
            left.append(program.copy())
            result = item.run(left[-1], ctx)
            left.append(result)
            if item.kind == "transform":
                result = _finished(program, before, result)
            left.append(result)
            seconds = time.perf_counter() - started
            after = before if result is program else Snapshot.of(result)
            step = Step(index, item, program, result, Change.between(before, after), seconds)
            for instrument in self.instruments:
                with clock.counting(instrument):
                    instrument.verify(step)
        except Exception as error:
            if isinstance(error, PassFailure):
                error.ours = is_ours(item)
            if not can_undo(self.pipeline, index, program, error, ctx.settings):
                raise
            failure = self._shown(item, program, error)
            assert isinstance(failure, PassFailure)
            failure.__cause__ = None if failure is error else error
            seconds = time.perf_counter() - started
            return Step(index, item, program, program, Change(), seconds, failure), before
        return step, after

    @staticmethod
    def _require(item: Pass, program: Program) -> None:
        for name in sorted(item.requires):
            problem = KNOWN_FACTS[name].violation(program)
            if problem is not None:
                raise PassFailure(item.name, f"it needs {name!r}, but {problem}.")

    @staticmethod
    def _shown(item: Pass, program: Program, error: BaseException) -> BaseException:
        """What the user gets to see: mistakes of theirs and interrupts as they are, everything else as PassFailure."""
        if isinstance(error, UserError | PassFailure) or not isinstance(error, Exception):
            return error
        name = getattr(error, "node", None)
        node = program.nodes_by_name.get(name) if isinstance(name, str) else node_at(error)
        source = source_of(node) if node is not None else None
        message = f"{type(error).__name__}: {error}"
        return PassFailure(
            item.name, message, node.name if node else None, source, ours=is_ours(item) and getattr(error, "ours", True)
        )

    def _report(
        self, program: Program, records: list[PassRecord], notes: list[str], failure: str | None, clock: _Clock
    ) -> Report:
        seconds = sum(record.seconds for record in records)
        return Report(
            program=program,
            pipeline=str(self.pipeline),
            settings=self.ctx.settings.to_json(),
            versions=versions(),
            passes=tuple(records),
            ledger=program.ledger,
            segments=tuple(segment_record(program, segment) for segment in program.segments),
            notes=tuple(dict.fromkeys(notes)),
            command=self.command,
            failure=failure,
            spent=MappingProxyType({**self.spent, **clock.spent(seconds)}),
        )


class _Clock:
    """Counts the seconds of instruments, and what is left of a run besides them and its passes."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def counting(self, instrument: Instrument) -> Iterator[None]:
        """Count the block for an instrument."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[type(instrument).__name__.lower()] += time.perf_counter() - started

    def spent(self, passes: float) -> dict[str, float]:
        """Seconds of every instrument, and of the manager itself, of a run whose passes took so many so far."""
        total = time.perf_counter() - self._started
        return {**self._seconds, "manager": max(0.0, total - passes - sum(self._seconds.values()))}


def run(
    program: Program,
    pipeline: str | Pipeline | Sequence[Pass],
    settings: Settings,
    instruments: Sequence[Instrument] = (),
    command: str = "",
    spent: Mapping[str, float] = MappingProxyType({}),
) -> Report:
    """Run a pipeline on a program with the instruments that the settings ask for; the report of the run."""
    asked: list[Instrument] = [Verify(), *instruments]
    if LOGGER.isEnabledFor(logging.INFO):
        asked.append(Logged())
    checking = None
    if settings.check is not None:
        from .instruments.check import Checking

        checking = Checking(settings.check, settings.tolerance)
        asked.append(checking)
    if settings.dump_dir is not None:
        from .instruments.dump import Dump

        asked.append(Dump(settings.dump_dir, checking=checking))
    return PassManager(pipeline, asked, settings, command=command, spent=spent).run(program)


def compile_program(
    program: Program,
    settings: Settings,
    pipeline: str | Pipeline | Sequence[Pass] | None = None,
    instruments: Sequence[Instrument] = (),
    spent: Mapping[str, float] = MappingProxyType({}),
) -> GraphModule:
    """Run the pipeline on a program; the compiled module, see `compile`."""
    chosen = default_pipeline() if pipeline is None else as_pipeline(pipeline)
    if settings.dryrun and pipeline is None:
        chosen = chosen.until("partition")
    return compiled_module(run(program, chosen, settings, instruments, spent=spent))


def compiled_module(report: Report) -> GraphModule:
    """What a run made, with its report; a module that runs in PyTorch where the pipeline ended before `splice`."""
    compiled = report.compiled if report.compiled is not None else eager_module(report.program)
    assert isinstance(compiled, GraphModule)
    # Not assigned plainly, since nn.Module declares its attributes as tensors and modules.
    object.__setattr__(compiled, "report", report)
    object.__setattr__(compiled, "_repr_mimebundle_", report._repr_mimebundle_)
    return compiled


def _with_partition(ctx: Context, pipeline: Pipeline) -> Context:
    """The context with the file of `partition{from=…}`, whose precisions a pass before that one needs."""
    given = [path for item in pipeline.passes if item.name == "partition" and (path := item.options().get("from"))]
    return replace(ctx, settings=ctx.settings.updated({"partition": given[-1]})) if given else ctx


def _finished(before: Program, snapshot: Snapshot, after: Program) -> Program:
    """The result of a transform: what it was given if it changed nothing, else without verdicts and consistent."""
    after = after.without_analysis()
    unchanged = Change.between(snapshot, Snapshot.of(after)).empty and len(before.op_nodes) == len(after.op_nodes)
    return before if unchanged else after.synced()


def segment_record(program: Program, segment: Segment) -> SegmentRecord:
    """The report's row for a segment."""
    nodes = program.nodes_by_name
    engine = segment.engine
    return SegmentRecord(
        name=segment.name,
        ops=len(segment.nodes),
        inputs=tuple(f"{name}: {type_text(nodes[name].meta.get('val'))}" for name in segment.inputs),
        outputs=tuple(f"{name}: {type_text(nodes[name].meta.get('val'))}" for name in segment.outputs),
        engine_bytes=None if engine is None else engine.nbytes,
        build_seconds=None if engine is None else engine.build_seconds,
        cached=None if engine is None else engine.cached,
    )


def _tensors_on_cpu() -> AbstractContextManager[Any]:
    """Where passes work, whatever the user's default device is: TensorRT reads weights from the host."""
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")
