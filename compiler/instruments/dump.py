"""The instrument `Dump`: a folder that shows what every pass did."""

from __future__ import annotations

import inspect
import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ...visualize.dot import to_dot
from ...visualize.heat import heated, tree_map
from ...visualize.operators import program_picture
from ...visualize.page import Contents, Measure, Recording, StageFiles, index_html
from ...visualize.render import Rendering
from ...visualize.why import why_text
from ..analysis.gains import fallback_gains
from ..errors import Cancelled, PassFailure, UserError
from ..ir.collector import collector_paused
from ..ir.program import Program
from ..ir.records import PassRecord
from ..pass_base import Context, Pass
from ..pipeline import Pipeline
from ..report.coverage import module_coverage
from ..report.report import Report
from ..report.versions import versions
from ..runtime.measure.profile import Profile, us_text
from ..undo import note_of
from .check import Checking
from .dump_files import as_user_error, check_folder, clear_folder, staged, write_text
from .dump_stage import OpenStage
from .numerics import Numerics
from .protocol import Failure, Instrument, Step
from .reproducer import MAX_WEIGHT_BYTES, Reproducer, command_of

_INPUT = "00-input"

MAX_SAVING = 3
"""Folders that may wait for their program to be saved: more would only take memory on a machine of two cores."""


class Dump(Instrument):
    """Writes a folder with the graph after every pass as text, picture, diff and program, and what became of it.

    The folder may be new, empty, or hold an earlier dump, which is replaced. Each pass's folder appears when it is
    complete. A pass that changed nothing says so in `unchanged.txt`, one that failed in `failed.txt`, beside the graph
    as it left it. Text files hold the same bytes for the same model
    and settings; only `run.json`, `index.html` and `build.log` hold seconds. After a failure, `repro/` has a script
    that repeats it. Of large programs, only that before all passes and the partitioned one are saved as archives.

    Args:
        folder: where to write.
        max_weight_bytes: weights above this size are left out of a reproducer.
        numerics, checking: instruments of the same run, whose errors the page shows.

    Raises:
        UserError: the folder is not ours, or not writable; later, the disk is full.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        max_weight_bytes: int = MAX_WEIGHT_BYTES,
        numerics: Numerics | None = None,
        checking: Checking | None = None,
    ) -> None:
        self.folder, self._numerics, self._checking = Path(folder), numerics, checking
        self.max_weight_bytes = max_weight_bytes
        check_folder(self.folder)
        self._stages: list[StageFiles] = []
        self._recording = Recording()
        self._records: list[PassRecord] = []
        self._report: Report | None = None
        self._context = Context()
        self._pipeline = Pipeline(())
        self._open: deque[OpenStage] = deque()
        self._latest = _INPUT
        self._failed: tuple[str, str] | None = None
        self._reproduce = ""
        self._broken = False
        self._contents: Contents | None = None

    # --- hooks -----------------------------------------------------------------------------------------------------
    def before_pipeline(self, pipeline: Pipeline, program: Program, ctx: Context) -> None:
        """Empty the folder and write the program that the passes are given."""
        self._stages, self._records, self._reproduce, self._broken = [], [], "", False
        self._failed, self._recording = None, Recording()
        self._undone: list[str] = []
        self._recording.add(_INPUT, "input", "The program as it was exported.", program)
        self._context, self._pipeline, self._latest = ctx, pipeline, _INPUT
        self._report = _unfinished(pipeline, program, ctx)
        with self._writing():
            clear_folder(self.folder)
            self._write_run()
            self._text = self._new_stage(_INPUT, "input").write_program(program, "input", (), with_weights=True)

    def before_pass(self, index: int, item: Pass, program: Program) -> None:
        """Complete the folders of the passes before, if this one leaves Python: TensorRT can end the process."""
        if item.kind == "build":
            with self._writing():
                self._finish_stages()

    def after_pass(self, step: Step) -> None:
        """Write the folder of a pass."""
        name = f"{step.index + 1:02d}-{step.item.name}"
        if step.undone is not None:
            step.undone.reproduce = self._write_reproducer(step.index, step.before, step.undone)
            self._undone.append(note_of(step.undone).replace(f"{self.folder}{os.sep}", ""))
        with self._writing():
            text = self._new_stage(name, step.item.name).write_step(step, self._latest, self._text)
            if text is not None:
                self._latest, self._text = name, text
            self._record(step, name)
            self._records.append(step.record)
            if self._report is not None:
                self._report = replace(self._report, passes=tuple(self._records))
                self._write_run()

    def on_failure(self, failure: Failure) -> None:
        """Write a reproducer, unless the run ended by a mistake or a wish of the user's."""
        error = failure.error
        self._failed = failure.item.name, getattr(error, "node", None) or ""
        if not self._broken:
            with self._writing():
                self._write_failed(failure)
                self._finish_stages()
        if self._broken or isinstance(error, UserError | Cancelled) or not isinstance(error, Exception):
            return
        if isinstance(error, PassFailure) and error.pass_name != failure.item.name:
            return
        self._reproduce = self._write_reproducer(failure.index, failure.before, error, failure.instrument)
        if isinstance(error, PassFailure):
            error.reproduce = self._reproduce

    def _write_failed(self, failure: Failure) -> None:
        """Write the folder of a pass that failed: its graph, as far as it had come, what it changed, and why."""
        if failure.after is None or not isinstance(failure.error, Exception):
            return
        name = f"{failure.index + 1:02d}-{failure.item.name}"
        if name in {stage.name for stage in self._open} or (self.folder / name).exists():
            return  # the pass itself did its work, and something that came after the dump found it wrong
        stage = self._new_stage(name, failure.item.name)
        stage.write_failed(failure, self._latest, self._text)

    def after_pipeline(self, report: Report) -> None:
        """Write what is known of the whole run."""
        if self._broken:
            return
        try:
            with self._writing():
                self._finish_stages()
                self._write_summary(report)
        except UserError:
            # What ended the run matters more than that its summary could not be written.
            if report.failure is None:
                raise

    def profiled(self, profile: Profile) -> None:
        """Add the run time of the compiled model: `profile.json`, pictures coloured by it, and colours on the page."""
        contents, report = self._contents, self._report
        assert contents is not None, "there is no profile before the run is over"
        assert report is not None
        times = profile.node_us
        title = f"run time: {profile.measured}, {profile.device}"
        by_module = tree_map(((row.module, row.us) for row in profile.nodes), us_text, title)
        picture = heated(program_picture(report.program, (), "run time"), times, us_text, title)
        floors = {row.node: row.floor_us for row in profile.nodes if row.floor_us is not None}
        added = [Measure("run time", "us", times), Measure("run time at least", "us", floors)]
        with self._writing():
            write_text(self.folder / "profile.json", f"{json.dumps(profile.to_json(), indent=1, ensure_ascii=False)}\n")
            write_text(self.folder / "modules.svg", by_module)
            dot = to_dot(picture)
            write_text(self.folder / "graph.dot", dot)
            svg = Rendering.start(dot).svg()
            if svg is not None:
                write_text(self.folder / "graph.svg", svg)
            measures = (*added, *contents.measures)
            page = replace(contents, report=report, measures=measures, tree_map=by_module)
            write_text(self.folder / "index.html", index_html(page))

    def finished(self, report: Report) -> None:
        """Add the seconds that are known now to `run.json`."""
        self._report = report
        with self._writing():
            self._write_run()

    def _write_reproducer(
        self, index: int, program: Program, error: BaseException, instrument: Instrument | None = None
    ) -> str:
        """Write the folder that repeats a failure: `repro`, unless a pass that was undone has that already."""
        item = self._pipeline.passes[index]
        name = f"repro-{item.name}" if (self.folder / "repro").exists() else "repro"
        with self._writing():
            reproducer = Reproducer.of(self._pipeline, index, program, self._context, error, instrument)
            with staged(self.folder, name) as folder:
                reproducer.write(folder, self.max_weight_bytes)
        return command_of(self.folder / name)

    # --- writing ---------------------------------------------------------------------------------------------------
    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            # Nothing that is made here is in a cycle, and the collector would go through a large program several times,
            # which also unshares its memory with the copies of the process that save it.
            with as_user_error(self.folder), collector_paused():
                yield
        except BaseException as error:
            self._broken = isinstance(error, UserError)
            while self._open:
                self._open.popleft().discard()
            raise

    def _new_stage(self, name: str, title: str) -> OpenStage:
        """Begin a folder, and complete those that are written, in order."""
        while self._open and (not self._open[0].saving or len(self._open) >= MAX_SAVING):
            self._finish_stage()
        self._open.append(OpenStage(self.folder, name, title))
        return self._open[-1]

    def _finish_stage(self) -> None:
        """Complete the oldest folder; it stays open, to be discarded, if that fails."""
        self._stages.append(self._open[0].finish())
        self._open.popleft()

    def _finish_stages(self) -> None:
        while self._open:
            self._finish_stage()

    def _record(self, step: Step, folder: str) -> None:
        name, about = step.item.name, " ".join((inspect.getdoc(step.item) or "").split("\n\n")[0].split())
        if step.after.compiled is not None and step.before.compiled is None:
            segments = {segment.name for segment in step.after.segments}
            self._recording.add_compiled(folder, name, about, step.after.compiled, segments)
        elif step.change.empty:
            self._recording.repeat(folder, name, about)
        elif step.item.kind != "transform" and not step.change.graph_changed and step.after.compiled is None:
            self._recording.add_facts(folder, name, about, step.after)
        else:
            self._recording.add(folder, name, about, step.after)

    def _write_run(self) -> None:
        assert self._report is not None
        write_text(self.folder / "run.json", f"{json.dumps(self._report.to_json(), indent=1, ensure_ascii=False)}\n")

    def _write_summary(self, report: Report) -> None:
        self._report = report
        program, settings = report.program, self._context.settings
        gains = fallback_gains(program, settings) if program.partitioned_by is not None else None
        write_text(self.folder / "ledger.jsonl", report.ledger.to_jsonl())
        write_text(self.folder / "why.txt", why_text(program, settings, gains, report.boundary, self._undone))
        write_text(self.folder / "coverage.csv", module_coverage(report.ledger, self._errors).to_csv())
        self._write_run()
        measures = self._measures(report)
        contents = Contents(
            report,
            self._recording,
            self._stages,
            self.folder,
            gains,
            self._failed,
            self._reproduce,
            measures,
        )
        self._contents = contents
        write_text(self.folder / "index.html", index_html(contents))

    @property
    def _errors(self) -> dict[str, float]:
        return self._numerics.node_errors if self._numerics is not None else {}

    def _measures(self, report: Report) -> list[Measure]:
        measures = [Measure("error of the networks", "relative L2", self._errors)] if self._errors else []
        errors = None if self._checking is None or report.failure is not None else self._checking.errors
        if errors is not None:
            write_text(self.folder / "errors.json", f"{json.dumps(errors.to_json(), indent=1)}\n")
            measures.append(Measure("error added", "relative L2", {row.node: row.added for row in errors.rows}))
            measures.append(Measure("error so far", "relative L2", {row.node: row.error for row in errors.rows}))
        return measures


def _unfinished(pipeline: Pipeline, program: Program, ctx: Context) -> Report:
    """The report to leave behind if the process dies."""
    return Report(
        program=program,
        pipeline=str(pipeline),
        settings=ctx.settings.to_json(),
        versions=versions(),
        passes=(),
        ledger=program.ledger,
        segments=(),
        failure="the run did not finish",
    )
