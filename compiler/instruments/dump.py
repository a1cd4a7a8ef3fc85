"""The instrument `Dump`: a folder that shows what every pass did."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ...visualize.dot import to_dot
from ...visualize.overview import overview_picture
from ...visualize.page import StageFiles, index_html
from ...visualize.render import Rendering
from ...visualize.why import why_text
from ..errors import PassFailure, UserError
from ..pass_base import Cancelled, Context, Pass
from ..pipeline import Pipeline
from ..program import Program
from ..report import PassRecord, Report
from .dump_files import as_user_error, check_folder, clear_folder, staged, write_text
from .dump_stage import OpenStage
from .protocol import Failure, Instrument, Step
from .reproducer import MAX_WEIGHT_BYTES, Reproducer, command_of

_INPUT = "00-input"


class Dump(Instrument):
    """Writes a folder with the graph after every pass as text, picture, diff and program, and what became of it.

    The folder may be new, empty, or hold an earlier dump, which is replaced. Each pass's folder appears when it is
    complete. A pass that changed nothing says so in `unchanged.txt`. Text files hold the same bytes for the same model
    and settings; only `run.json`, `index.html` and `build.log` hold seconds. After a failure, `repro/` has a script
    that repeats it.

    Args:
        folder: where to write.
        max_weight_bytes: weights above this size are left out of a reproducer.

    Raises:
        UserError: the folder is not ours, or not writable; later, the disk is full.
    """

    def __init__(self, folder: str | os.PathLike[str], max_weight_bytes: int = MAX_WEIGHT_BYTES) -> None:
        self.folder = Path(folder)
        self.max_weight_bytes = max_weight_bytes
        check_folder(self.folder)
        self._stages: list[StageFiles] = []
        self._records: list[PassRecord] = []
        self._report: Report | None = None
        self._context = Context()
        self._pipeline = Pipeline(())
        self._open: OpenStage | None = None
        self._latest = _INPUT
        self._reproduce = ""
        self._broken = False

    # --- hooks -----------------------------------------------------------------------------------------------------
    def before_pipeline(self, pipeline: Pipeline, program: Program, ctx: Context) -> None:
        """Empty the folder and write the program that the passes are given."""
        self._stages, self._records, self._reproduce, self._broken = [], [], "", False
        self._context, self._pipeline, self._latest = ctx, pipeline, _INPUT
        self._report = _unfinished(pipeline, program, ctx)
        with self._writing():
            clear_folder(self.folder)
            self._write_run()
            self._open = stage = OpenStage(self.folder, _INPUT, "input")
            stage.write_program(program, "input", ())

    def before_pass(self, index: int, item: Pass, program: Program) -> None:
        """Complete the folder of the pass before, if this one leaves Python: TensorRT can take the process down."""
        if item.kind == "build":
            with self._writing():
                self._finish_stage()

    def after_pass(self, step: Step) -> None:
        """Write the folder of a pass."""
        name = f"{step.index + 1:02d}-{step.item.name}"
        with self._writing():
            self._finish_stage()
            self._open = stage = OpenStage(self.folder, name, step.item.name)
            if stage.write_step(step, self._latest):
                self._latest = name
            record = PassRecord(step.item.name, step.item.stage, step.seconds, step.change)
            self._records.append(record)
            if self._report is not None:
                self._report = replace(self._report, passes=tuple(self._records))
                self._write_run()

    def on_failure(self, failure: Failure) -> None:
        """Write a reproducer, unless the run ended by a mistake or a wish of the user's."""
        error = failure.error
        if not self._broken:
            with self._writing():
                self._finish_stage()
        if self._broken or isinstance(error, UserError | Cancelled) or not isinstance(error, Exception):
            return
        if isinstance(error, PassFailure) and error.pass_name != failure.item.name:
            return
        settings = self._context.settings
        with self._writing():
            reproducer = Reproducer.of(self._pipeline, failure.index, failure.before, settings, error)
            with staged(self.folder, "repro") as folder:
                reproducer.write(folder, self.max_weight_bytes)
        self._reproduce = command_of(self.folder / "repro")
        if isinstance(error, PassFailure):
            error.reproduce = self._reproduce

    def after_pipeline(self, report: Report) -> None:
        """Write what is known of the whole run."""
        if self._broken:
            return
        try:
            with self._writing():
                self._finish_stage()
                self._write_summary(report)
        except UserError:
            # What ended the run matters more than that its summary could not be written.
            if report.failure is None:
                raise

    # --- writing ---------------------------------------------------------------------------------------------------
    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with as_user_error(self.folder):
                yield
        except BaseException as error:
            self._broken = isinstance(error, UserError)
            if self._open is not None:
                self._open.discard()
                self._open = None
            raise

    def _finish_stage(self) -> None:
        if self._open is not None:
            self._stages.append(self._open.finish())
            self._open = None

    def _write_run(self) -> None:
        assert self._report is not None
        write_text(self.folder / "run.json", f"{json.dumps(self._report.to_json(), indent=1, ensure_ascii=False)}\n")

    def _write_summary(self, report: Report) -> None:
        self._report = report
        picture = Rendering.start(to_dot(overview_picture(report.program)))
        why = why_text(report.program, self._context.settings)
        write_text(self.folder / "ledger.jsonl", report.ledger.to_jsonl())
        write_text(self.folder / "why.txt", why)
        self._write_run()
        shown = why if len(report.ledger) and report.coverage < 1 else ""
        page = index_html(report, self._stages, picture.svg(), shown, self._reproduce)
        write_text(self.folder / "index.html", page)


def _unfinished(pipeline: Pipeline, program: Program, ctx: Context) -> Report:
    """The report to leave behind if the process dies."""
    from ..manager import versions

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
