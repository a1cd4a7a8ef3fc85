"""The hooks that the pass manager calls; an instrument overrides those it needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..analysis.made import made_by
from ..errors import PassFailure
from ..ir.change import Change
from ..ir.program import Program
from ..ir.records import PassRecord
from ..pass_base import Context, Pass
from ..pipeline import Pipeline
from ..report.report import Report


@dataclass(frozen=True)
class Step:
    """One pass that ran: its position in the pipeline, the programs before and after it, what changed, and seconds.

    `undone` is set where a pass of this package failed and the program is what it was before, see `compiler.undo`.
    """

    index: int
    item: Pass
    before: Program = field(repr=False)
    after: Program = field(repr=False)
    change: Change = field(repr=False)
    seconds: float
    undone: PassFailure | None = None

    @property
    def record(self) -> PassRecord:
        """What the report says of it."""
        undone = None if self.undone is None else self.undone.message
        made = made_by(self.before, self.after)
        return PassRecord(self.item.name, self.item.stage, self.seconds, self.change, undone, made)


@dataclass(frozen=True)
class Failure:
    """A pass that did not finish: the program it was given, and what it raised (KeyboardInterrupt included).

    `instrument` is the one that raised, if the pass itself did not. `after` is what the pass returned, or how far it
    had come with its copy of the program when it raised; it need not be valid.
    """

    index: int
    item: Pass
    before: Program = field(repr=False)
    error: BaseException
    instrument: Instrument | None = None
    after: Program | None = field(default=None, repr=False)


class Instrument:
    """Base of instruments; every hook does nothing. Instruments see programs and must not change them."""

    def before_pipeline(self, pipeline: Pipeline, program: Program, ctx: Context) -> None:
        """The pipeline was checked and is about to run on `program`."""

    def should_run(self, item: Pass, program: Program) -> bool:
        """Whether the pass is run; False from any instrument skips it."""
        return True

    def should_stop(self) -> bool:
        """Whether the run is to end: long passes, such as `build`, ask all the time, and raise `Cancelled`."""
        return False

    def before_pass(self, index: int, item: Pass, program: Program) -> None:
        """A pass is about to run."""

    def verify(self, step: Step) -> None:
        """A pass ran: raise PassFailure if it did not do what it promised. Called before any `after_pass`."""

    def after_pass(self, step: Step) -> None:
        """A pass ran."""

    def on_failure(self, failure: Failure) -> None:
        """A pass raised, or an instrument found that it broke a promise; the run ends after this."""

    def after_pipeline(self, report: Report) -> None:
        """The run is over, also after a failure (then `report.failure` is set)."""

    def finished(self, report: Report) -> None:
        """The run succeeded and all instruments are done; the report has the seconds that each took."""
