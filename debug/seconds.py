"""Where time goes: the pass, the engine and the operators that take longest to compile, or are slower than PyTorch."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..compiler.errors import UserError
from ..compiler.instruments.numerics import node_values
from ..compiler.ir.program import Program, Segment
from ..compiler.manager import PassManager
from ..compiler.pass_base import Context
from ..compiler.pipeline import Pipeline
from ..compiler.report.report import Report
from ..compiler.runtime.program_arguments import call_arguments
from ..passes.convert import SegmentFailed
from .bisection import Bisection, suspect
from .evaluate import whole
from .part import leaders, part_of
from .script import ALONE, Script

SHARE = 0.5
"""Share of the seconds of a group of operators that a half of it must have for the search to go on in it."""

Seconds = Callable[[Segment], float]
"""What operators of a segment take."""


def slowest(program: Program, metric: str, pipeline: Pipeline, ctx: Context) -> Bisection:
    """What takes longest to compile ("compile-time"), or is slowest compared with PyTorch ("time").

    Raises:
        UserError: time is asked for on a machine without a GPU.
    """
    if metric == "time" and not torch.cuda.is_available():
        raise UserError("the metric time compares engines with PyTorch on a GPU, and this machine has none.")
    report = PassManager(pipeline, ctx=ctx).run(program)
    search = _Search(report, ctx, metric)
    return search.in_running() if metric == "time" else search.in_compiling()


@dataclass
class _Search:
    report: Report
    ctx: Context
    metric: str
    said: list[str] = field(default_factory=list)

    @property
    def program(self) -> Program:
        """After all passes."""
        return self.report.program

    def in_compiling(self) -> Bisection:
        """The pass, the segment and the operators that take longest."""
        longest = max(self.report.passes, key=lambda record: record.seconds)
        total = self.report.pass_seconds
        self.said.append(f"{longest.name} takes {longest.seconds:.2f} s of the {total:.2f} s of all passes")
        segments = [s for s in self.program.segments if s.engine is not None]
        if longest.stage not in ("convert", "build") or not segments:
            message = f"the pass {longest.name} takes longest: {longest.seconds:.2f} of {total:.2f} s."
            return Bisection(self.metric, 0.0, total, longest.name, message=message, steps=tuple(self.said))
        worst = max(segments, key=lambda s: s.engine.build_seconds if s.engine is not None else 0.0)
        return self._narrowed(worst, longest.name, self._compile_seconds, total, "to compile")

    def in_running(self) -> Bisection:
        """The segment and the operators that lose most time compared with PyTorch."""
        lost = {segment.name: self._lost_seconds(segment) for segment in self.program.segments}
        for name, value in lost.items():
            self.said.append(f"{name} takes {1e6 * value:+.1f} us a call compared with PyTorch")
        slow = [segment for segment in self.program.segments if lost[segment.name] > 0]
        if not slow:
            text = "no engine is slower than its operators are in PyTorch."
            return Bisection(self.metric, 0.0, max(lost.values(), default=0.0), message=text, steps=tuple(self.said))
        worst = max(slow, key=lambda segment: lost[segment.name])
        return self._narrowed(worst, "build", self._lost_seconds, lost[worst.name], "more than in PyTorch")

    def _narrowed(self, segment: Segment, stage: str, seconds: Seconds, total: float, what: str) -> Bisection:
        names = leaders(self.program, segment.nodes)
        names, value = narrowed(names, lambda some: self._seconds(some, seconds))
        nodes = self.program.nodes_by_name
        suspects = tuple(suspect(nodes[name]) for name in names[:8])
        count = f"{len(names)} operator{'' if len(names) == 1 else 's'}"
        self.said.append(f"halving {segment.name} leaves {count}")
        which = f"%{names[0]} takes" if len(names) == 1 else f"{count} from %{names[0]} on take"
        message = f"in {segment.name}, {which} {value:.3g} s {what}."
        passes = Pipeline.parse(ALONE).passes
        values = node_values(self.program, list(self.program.nodes_by_name), *call_arguments(self.program))
        executor = "tensorrt" if self.metric == "time" else "pytorch"
        try:
            part = part_of(self.program, names, values)
            script = Script(message, part, "seconds", passes, self.ctx, executor=executor).text()
        except Exception as error:  # nor is it worth less without a script
            self.said.append(f"no script was made: {error}")
            script = ""
        return Bisection(self.metric, 0.0, total, stage, segment.name, suspects, message, tuple(self.said), script)

    def _seconds(self, names: Sequence[str], seconds: Seconds) -> float:
        part = whole(self.program, names)
        try:
            return 0.0 if part is None else seconds(part)
        except SegmentFailed:  # a size of the part comes from a shape outside of it
            return 0.0

    def _compile_seconds(self, segment: Segment) -> float:
        from ..passes.build.threads import build_concurrently
        from .evaluate import ReferenceEvaluator

        started = time.perf_counter()
        network = ReferenceEvaluator(self.program, self.ctx).network(replace(segment, name=f"{segment.name}, a part"))
        build_concurrently([replace(segment, network=network)], self.ctx)
        return time.perf_counter() - started

    def _lost_seconds(self, segment: Segment) -> float:
        """Seconds that a call of an engine takes more than PyTorch does."""
        program = self.program
        values = node_values(program, list(program.nodes_by_name), *call_arguments(program))
        part = part_of(program, segment.nodes, values, segment.outputs)
        settings = self.ctx.settings.updated({"min_block_size": 1, "executor": "tensorrt"})
        report = PassManager(ALONE, ctx=replace(self.ctx, settings=settings)).run(part.program())
        inputs = [x.cuda() if isinstance(x, torch.Tensor) else x for x in part.inputs.values()]
        compiled: Any = report.compiled
        compiled, eager = copy.deepcopy(compiled).cuda(), copy.deepcopy(part.module).cuda()
        with torch.no_grad():
            return seconds_of(lambda: compiled(*inputs)) - seconds_of(lambda: eager(*inputs))


def narrowed(names: Sequence[str], seconds: Callable[[Sequence[str]], float]) -> tuple[list[str], float]:
    """The operators that a long time is due to, found by halving, and what they take.

    Args:
        names: in graph order.
        seconds: what some of them take.
    """
    found, value = list(names), seconds(names)
    while len(found) > 1:
        middle = len(found) // 2
        halves = [(part, seconds(part)) for part in (found[:middle], found[middle:])]
        half, least = max(halves, key=lambda pair: pair[1])
        if least < SHARE * value:
            break
        found, value = half, least
    return found, value


def seconds_of(call: Callable[[], object], warm: int = 10, calls: int = 50) -> float:
    """Seconds of a call on the GPU: the least of five means."""
    for _ in range(warm):
        call()
    best = float("inf")
    for _ in range(5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        for _ in range(calls):
            call()
        end.record()
        torch.cuda.synchronize()
        best = min(best, start.elapsed_time(end) / 1e3 / calls)
    return best
