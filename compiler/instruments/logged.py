"""`Logged`: what a compilation does, as messages of the logger "trt_passes"."""

from __future__ import annotations

import logging

from ..ir.program import Program
from ..pass_base import Context
from ..pipeline import Pipeline
from ..report.report import Report
from .protocol import Failure, Instrument, Step

LOGGER = logging.getLogger("trt_passes")

GRAPHS = 5
"""The level of graphs, below DEBUG."""


class Logged(Instrument):
    """Logs the verdicts and engines of a compilation at INFO, every pass and TensorRT's messages at DEBUG.

    The graph that comes in, and those of passes that changed it, are logged at level 5. It takes part where the logger
    shows INFO.
    """

    def before_pipeline(self, pipeline: Pipeline, program: Program, ctx: Context) -> None:
        if LOGGER.isEnabledFor(GRAPHS):
            LOGGER.log(GRAPHS, "graph before %s:\n%s", pipeline, _text(program))

    def after_pass(self, step: Step) -> None:
        LOGGER.debug("pass %s: %s in %.3f s", step.item.name, step.change, step.seconds)
        if step.undone is not None:
            LOGGER.warning("%s", step.undone)
        if step.change.graph_changed and LOGGER.isEnabledFor(GRAPHS):
            LOGGER.log(GRAPHS, "graph after %s:\n%s", step.item.name, _text(step.after))
        for before, after in zip(step.before.segments, step.after.segments, strict=False):
            if after.engine is not None and before.engine is None:
                LOGGER.debug("%s: %s", after.name, after.engine.log)

    def on_failure(self, failure: Failure) -> None:
        LOGGER.error("%s", failure.error)

    def after_pipeline(self, report: Report) -> None:
        LOGGER.info("verdicts: %s; engines: %d", report.verdicts, len(report.segments))
        for note in report.notes:
            LOGGER.warning("%s", note)


def _text(program: Program) -> str:
    from ...visualize.text import program_text

    return program_text(program)
