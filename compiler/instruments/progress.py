"""`Progress`: one line on a terminal that says what is going on."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.status import Status

from ..ir.program import Program
from ..pass_base import Context, Pass
from ..report.report import Report
from .protocol import Failure, Instrument, Step


class Progress(Instrument):
    """Shows the running pass, and parts of long passes, on a stream (stderr by default) if it is a terminal.

    Use it as a context manager, and give `context(ctx)` to the pass manager so that passes report their parts.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = Console(file=stream, stderr=stream is None)
        self._status: Status | None = None
        self._title = ""

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def context(self, ctx: Context) -> Context:
        """The context with progress of long passes shown here."""
        return replace(ctx, progress=self._part)

    def before_pass(self, index: int, item: Pass, program: Program) -> None:
        self._title = item.name
        self._show(item.name)

    def after_pass(self, step: Step) -> None:
        if self._status is not None and (step.seconds >= 0.5 or step.undone is not None):
            self._console.print(f"{step.item.name}: {step.seconds:.1f} s, {step.record.done}", highlight=False)

    def on_failure(self, failure: Failure) -> None:
        self._stop()

    def after_pipeline(self, report: Report) -> None:
        self._stop()

    def _part(self, text: str, done: int, total: int) -> None:
        self._show(f"{self._title}: {text} {done}/{total}" if total else f"{self._title}: {text}")

    def _show(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
