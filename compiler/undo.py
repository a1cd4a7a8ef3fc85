"""Passes that are undone: a lowering pass of this package that fails costs the model that pass, not its compilation."""

from __future__ import annotations

from .errors import ISSUES, Cancelled, PassFailure, UserError
from .ir.program import Program
from .pass_base import Pass
from .pipeline import Pipeline, facts_of, known_passes
from .settings import Settings


def is_ours(item: Pass) -> bool:
    """Whether a pass comes with this package, so that a user cannot mend it."""
    return known_passes().get(item.name) is type(item)


def can_undo(pipeline: Pipeline, index: int, program: Program, error: BaseException, settings: Settings) -> bool:
    """Whether the run can go on with `program`, which the pass at a place of the pipeline was given and failed on.

    It can if the pass only makes the program better: it is one of our lowering passes, and no later pass needs a fact
    that it would have established.
    """
    item = pipeline.passes[index]
    if settings.raises_on_failed_pass or item.stage != "lower" or not is_ours(item):
        return False
    if isinstance(error, UserError | Cancelled) or not isinstance(error, Exception):
        return False
    try:
        Pipeline(pipeline.passes[index + 1 :]).check(facts_of(program))
    except UserError:
        return False
    return True


def note_of(failure: PassFailure) -> str:
    """The sentence that tells the user of a report that a pass was undone."""
    again = f"reproduce it with: {failure.reproduce}" if failure.reproduce else "give dump_dir to get a reproducer"
    return (
        f"pass {failure.pass_name!r} failed{failure.place} and was undone, so the model is compiled without it: "
        f"{failure.message} ({again}; please report it at {ISSUES}; strict=True raises instead)"
    )
