"""Which operators make a pass raise, or cannot be converted or built, in as small a part of the model as shows it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..compiler.errors import Cancelled, PassFailure, UserError
from ..compiler.instruments.numerics import node_values
from ..compiler.instruments.protocol import Failure, Instrument
from ..compiler.instruments.verify import Verify
from ..compiler.ir.ledger import LedgerRow, Verdict
from ..compiler.ir.program import Program
from ..compiler.manager import PassManager
from ..compiler.pass_base import Context, Pass
from ..compiler.pipeline import Pipeline
from ..compiler.runtime.program_arguments import call_arguments
from .bisection import Bisection, Suspect, suspect
from .networks import smallest_window
from .part import Part, ancestors, leaders, part_of
from .script import ALONE, Script

MOST_PARTS = 40
"""Parts that are tried for one failure, at most."""


class _Failures(Instrument):
    """Keeps the failure that ended a run, and those after which it went on."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def on_failure(self, failure: Failure) -> None:
        self.failures.append(failure)


def failure_of(program: Program, pipeline: Pipeline, ctx: Context) -> Bisection:
    """What fails in a run: the pass that raises, else the operators that could not be converted or built.

    Args:
        program: before all passes.
        pipeline: to run on it.
        ctx: a pass of this package that raises ends the run, as with `strict`.
    """
    strict = replace(ctx, settings=ctx.settings.updated({"strict": True, "pass_through_build_failures": False}))
    seen = _Failures()
    try:
        report = PassManager(pipeline, [Verify(), seen], ctx=strict).run(program)
    except PassFailure as error:
        failure = seen.failures[-1]
        return _Search(failure.before, failure.item, strict).of_pass(error)
    failed = [row for row in report.ledger if row.verdict is Verdict.FAILED and row.because is None]
    if not failed:
        return Bisection("failure", 0.0, 0.0, message="nothing fails: every pass ran, and every operator was built.")
    return _Search(report.program, _made_by(failed[0], pipeline), strict).of_operators(failed)


def _made_by(row: LedgerRow, pipeline: Pipeline) -> Pass:
    """The pass that a failed operator failed in."""
    stage = "build" if any(reason.code in ("TP502", "TP503") for reason in row.reasons) else "convert"
    return next(item for item in pipeline if item.stage == stage)


@dataclass
class _Search:
    """Searches the smallest part of a program on which a pass fails."""

    program: Program
    item: Pass
    ctx: Context
    tried: int = 0
    said: list[str] = field(default_factory=list)

    def of_pass(self, error: PassFailure) -> Bisection:
        """The operators on which the pass raises."""
        name = self.item.name
        passes = [self.item] if self.item.kind != "build" else list(Pipeline.parse(ALONE).passes)
        part = self._smallest(error.node, passes)
        nodes = self.program.nodes_by_name
        names = part.nodes if part is not None else [error.node] if error.node in nodes else []
        suspects = tuple(suspect(nodes[item]) for item in list(names)[:8])
        message = f"the pass {name} fails{error.place}: {error.message}"
        if part is not None:
            self.said.append(f"{len(self.program.op_nodes)} operators were narrowed down to {len(part.nodes)}")
        return self._result(message, suspects, part, passes)

    def of_operators(self, failed: Sequence[LedgerRow]) -> Bisection:
        """The operators that were left to PyTorch because they could not be converted or built."""
        nodes = self.program.nodes_by_name
        reason = failed[0].reasons[-1]
        self.said += [str(row) for row in failed[:8]]
        passes = list(Pipeline.parse(ALONE).passes)
        part = self._smallest(failed[0].node, passes)
        suspects: tuple[Suspect, ...] = tuple(suspect(nodes[row.node]) for row in failed[:8])
        message = f"{self.item.name} fails at %{failed[0].node}: {reason.code}: {reason.message}"
        return self._result(message, suspects, part, passes)

    def _result(
        self, message: str, suspects: tuple[Suspect, ...], part: Part | None, passes: Sequence[Pass]
    ) -> Bisection:
        script = ""
        if part is not None:
            script = Script(message, part, "failure", passes, self.ctx).text()
        else:
            self.said.append("no part of the model fails by itself: the dump of a run has a reproducer of the whole")
        text = message if message.endswith(".") else f"{message}."
        return Bisection("failure", 0.0, 0.0, self.item.name, None, suspects, text, tuple(self.said), script)

    def _smallest(self, node: str | None, passes: Sequence[Pass]) -> Part | None:
        """The smallest part that fails: around a node if one is known, else what halving leaves."""
        members = {item.name for item in self.program.op_nodes}
        values = node_values(self.program, list(self.program.nodes_by_name), *call_arguments(self.program))

        def part(names: Collection[str]) -> Part | None:
            self.tried += 1
            try:
                made = part_of(self.program, names, values)
                return made if made.inputs and made.outputs and self._fails(made, passes) else None
            except Exception:  # what cannot be taken out of the model is no part
                return None

        if node in members:
            for levels in (0, 1, 2, 3, 5, 8):
                found = part(ancestors(self.program, node, levels, members))
                if found is not None:
                    return found
        names = leaders(self.program, members)
        if part(names) is None:
            return None
        return part(smallest_window(names, self._limited(lambda some: part(some) is not None)))

    def _limited(self, fails: Callable[[Sequence[str]], bool]) -> Callable[[Sequence[str]], bool]:
        return lambda names: self.tried < MOST_PARTS and fails(names)

    def _fails(self, part: Part, passes: Sequence[Pass]) -> bool:
        program = part.program()
        settings = self.ctx.settings.updated({"strict": True, "pass_through_build_failures": True, "min_block_size": 1})
        try:
            PassManager(list(passes), [Verify()], ctx=replace(self.ctx, settings=settings)).run(program)
        except (UserError, Cancelled):
            return False
        except Exception as error:
            return _is_same(error)
        return False


def _is_same(error: Any) -> bool:
    return isinstance(error, PassFailure)
