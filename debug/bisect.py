"""`bisect`: the pass, then the engine, then the operator that makes the difference."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ..compiler.errors import PassFailure, UserError
from ..compiler.frontends.choice import front_end, traceable
from ..compiler.frontends.exported_program import trace
from ..compiler.instruments.numerics import node_values
from ..compiler.instruments.protocol import Step
from ..compiler.instruments.verify import Verify
from ..compiler.ir.annotations import segment_of
from ..compiler.ir.program import Program, Segment
from ..compiler.ir.text import op_name
from ..compiler.ir.tracing import tracing
from ..compiler.manager import PassManager
from ..compiler.pass_base import Context, Pass
from ..compiler.pipeline import Pipeline, as_pipeline, default_pipeline
from ..compiler.runtime.program_arguments import call_arguments, eager_module
from ..compiler.settings import Settings
from .bisection import DISTANCES, Bisection, Suspect, check_metric, suspect
from .evaluate import EngineEvaluator, Evaluator, ReferenceEvaluator
from .failures import failure_of
from .networks import Fault, Measure, SegmentSearch, max_abs, needed_values, relative_l2
from .part import Part, ancestors, part_of
from .passes import Steps, first_difference
from .script import ALONE, Script
from .seconds import slowest

Model = torch.nn.Module | torch.export.ExportedProgram | Program
Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


def bisect(
    model: Any,
    inputs: Sequence[Any] | None = None,
    *,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    metric: str = "relative-l2",
    tolerance: float | None = None,
    pipeline: str | Pipeline | Sequence[Pass] | None = None,
    ctx: Context | None = None,
    **options: Any,
) -> Bisection:
    """Find the pass, the engine and the operators that make a compiled model wrong, fail, or slow.

    Wrong numbers are looked for first after every pass that rewrites the graph, then in the network of every segment,
    which the reference executor evaluates with the value of every operator as an output, then, with a GPU, in the
    engines, and last in the compiled module, by leaving operators to PyTorch. Operators are tried alone, fed with the
    values that PyTorch computes, so that an error that is passed on is nobody's fault but that of its origin.

    Args:
        model, inputs, arg_inputs, kwarg_inputs: as for `compile`.
        metric: "relative-l2" or "max-abs" for wrong numbers; "failure" for a pass that raises, or an operator that
            cannot be converted or built; "compile-time"; "time" for engines that are slower than PyTorch, on a GPU.
        tolerance: of the first two, 1e-2 unless it is given.
        pipeline: passes to run instead of the default ones, or their text.
        ctx: with converters of your own; its settings hold unless there are `options`.
        options: fields of `Settings`.

    Returns:
        What was found; its `script` is a Python file that shows the fault alone.

    Raises:
        UserError: a mistake in the arguments, a model that cannot be exported, or no GPU to measure time on.
    """
    limit = check_metric(metric, tolerance)
    if inputs is not None and arg_inputs is not None:
        raise UserError("inputs and arg_inputs are two names of one argument: give one of them.")
    inputs = arg_inputs if inputs is None else inputs
    base = ctx if ctx is not None else Context()
    context = replace(base, settings=base.settings.updated(options) if ctx else Settings.from_options(options))
    chosen = default_pipeline() if pipeline is None else as_pipeline(pipeline)
    with tracing():
        program = trace(traceable(model, front_end("default", model), inputs, kwarg_inputs), inputs, kwarg_inputs)
    return bisect_program(program, metric, limit, chosen, context)


def bisect_program(program: Program, metric: str, tolerance: float, pipeline: Pipeline, ctx: Context) -> Bisection:
    """The same for a traced program."""
    if metric in DISTANCES:
        measure = relative_l2 if metric == "relative-l2" else max_abs
        return _Numbers(program, metric, measure, tolerance, pipeline, ctx).bisect()
    if metric == "failure":
        return failure_of(program, pipeline, ctx)
    return slowest(program, metric, pipeline, ctx)


@dataclass
class _Numbers:
    program: Program
    metric: str
    measure: Measure
    tolerance: float
    pipeline: Pipeline
    ctx: Context
    said: list[str] = field(default_factory=list)

    def bisect(self) -> Bisection:
        """See `bisect`."""
        arguments = call_arguments(self.program)
        expected = _outputs(eager_module(self.program), arguments)
        steps = Steps()
        try:
            until = self._before("build")
            report = PassManager(until, [Verify(), steps], ctx=self.ctx).run(self.program)
        except PassFailure as error:
            failed = failure_of(self.program, self.pipeline, self.ctx)
            return replace(
                failed, steps=(f"a pass fails, so there are no numbers to compare: {error.message}", *failed.steps)
            )
        worst = 0.0
        for step in steps.steps:
            if not step.change.graph_changed:
                continue
            off = self._distance(expected, _outputs(eager_module(step.after), arguments))
            if off > self.tolerance:
                return self._pass(step, arguments, off)
            worst = max(worst, off)
        self.said.append(f"the passes that rewrite the graph change nothing (at most {worst:.1e})")
        program = report.program
        taken = report.verdicts["trt"]
        segments = len(program.segments)
        where = f"in {segments} segment{'' if segments == 1 else 's'}" if segments else "so there is no engine"
        self.said.append(f"{taken} of {len(report.ledger)} op nodes are in TensorRT, {where}")
        values = node_values(program, set(needed_values(program, program.segments)), *arguments)
        for evaluator in self._evaluators(program):
            if evaluator.executor == "reference" and any(segment.network is None for segment in program.segments):
                continue
            found = self._segments(program, evaluator, values)
            if found is not None:
                return found
            self.said.append(f"{evaluator.name}: every output of every segment is within {self.tolerance:g}")
        return self._whole(program, expected, arguments)

    def _before(self, stage: str) -> Pipeline:
        passes = self.pipeline.passes
        first = next((index for index, item in enumerate(passes) if item.stage == stage), len(passes))
        return Pipeline(passes[:first])

    def _evaluators(self, program: Program) -> list[Evaluator]:
        found: list[Evaluator] = [ReferenceEvaluator(program, self.ctx)]
        if torch.cuda.is_available() and any(item.stage == "build" for item in self.pipeline):
            found.append(EngineEvaluator(program, self.ctx))
        return found

    def _distance(self, expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> float:
        return max((self.measure(value, found[name]) for name, value in expected.items()), default=0.0)

    # --- a pass ------------------------------------------------------------------------------------------------------
    def _pass(self, step: Step, arguments: Arguments, error: float) -> Bisection:
        name = step.item.name
        self.said.append(f"after {name} the outputs of the program differ by {error:.1e}, before they did not")
        found = first_difference(step, *arguments, self.measure, self.tolerance)
        nodes = step.after.nodes_by_name
        names = list(dict.fromkeys([*found.changed, *([found.node] if found.node else [])]))
        if found.node is not None:
            self.said.append(f"%{found.node} is the first value that differs, by {found.error:.1e}")
        if found.erased:
            gone = ", ".join(f"%{item}" for item in found.erased[:5])
            self.said.append(f"{name} erased {gone}{' and more' if len(found.erased) > 5 else ''}")
        suspects = tuple(suspect(nodes[item]) for item in names[:8])
        place = f" at %{found.node}" if found.node else ""
        message = f"the pass {name} changes what the model computes{place}: by {error:.1e}"
        script = self._pass_script(step, found.node, arguments, message)
        return self._result(message, error, name, suspects, script=script)

    def _pass_script(self, step: Step, node: str | None, arguments: Arguments, title: str) -> str:
        """The smallest part of the program before the pass that the pass breaks, as a script; "" if none is found."""
        before = step.before
        members = {item.name for item in before.op_nodes}
        values = node_values(before, list(before.nodes_by_name), *arguments)
        root = node if node in members else None
        for levels in (0, 1, 2, 3, 5, 8, 16, 64, len(members)):
            names = members if root is None else ancestors(before, root, levels, members)
            try:
                part = part_of(before, names, values, [root] if root is not None else ())
                if not part.inputs or not self._breaks(step.item, part):
                    raise UserError("the pass does not break it")
            except Exception:  # a part that cannot be exported, or that the pass takes otherwise
                if root is None:
                    return ""
                continue
            return Script(title, part, "pass", [step.item], self.ctx, self.metric, self.tolerance).text()
        return ""

    def _breaks(self, item: Pass, part: Part) -> bool:
        report = PassManager([item], ctx=self.ctx).run(part.program())
        with torch.no_grad():
            found = eager_module(report.program)(*_moved(list(part.inputs.values())))
        return any(self.measure(a, b) > self.tolerance for a, b in zip(part.expected, found, strict=True))

    # --- a segment ---------------------------------------------------------------------------------------------------
    def _segments(self, program: Program, evaluator: Evaluator, values: Mapping[str, Any]) -> Bisection | None:
        searches = [
            SegmentSearch(program, segment, evaluator, values, self.measure, self.tolerance)
            for segment in program.segments
        ]
        for index, search in enumerate(searches):
            fault = search.fault()
            if fault is not None:
                found = self._segment(program, search.segment, evaluator, fault, values)
                also = [other.segment.name for other in searches[index + 1 :] if other.is_wrong()]
                step = f"by themselves also wrong, once this is mended: {', '.join(also)}"
                return replace(found, steps=(*found.steps, step)) if also else found
        return None

    def _segment(
        self, program: Program, segment: Segment, evaluator: Evaluator, fault: Fault, values: Mapping[str, Any]
    ) -> Bisection:
        nodes = program.nodes_by_name
        self.said += fault.steps
        pairs = list(zip(fault.groups, fault.alone, strict=True))
        suspects = tuple(
            suspect(nodes[name], error if len(group) == 1 else None) for group, error in pairs for name in group
        )
        stage = "convert" if evaluator.executor == "reference" else "build"
        message = f"in {segment.name}, as {stage} makes it, {fault.how}"
        script = ""
        if fault.groups:
            passes = Pipeline.parse(ALONE).passes
            part = part_of(program, fault.groups[0], values)
            made = Script(
                message, part, "network", passes, self.ctx, self.metric, self.tolerance, executor=evaluator.executor
            )
            script = made.text()
        return self._result(message, fault.error, stage, suspects, segment.name, script)

    # --- the whole module --------------------------------------------------------------------------------------------
    def _whole(self, program: Program, expected: Mapping[str, torch.Tensor], arguments: Arguments) -> Bisection:
        """Compare what the compiled module returns, and leave operators to PyTorch until it is right."""
        if not any("spliced" in item.establishes for item in self.pipeline):
            return self._result("nothing differs by more than the tolerance", 0.0)
        error = self._compiled_error(expected, arguments, frozenset())
        if error <= self.tolerance:
            text = f"nothing differs by more than {self.tolerance:g}: the compiled model is {error:.1e} from PyTorch"
            return self._result(text, error)
        self.said.append(f"the compiled module differs by {error:.1e}, although each of its engines is right")
        taken = [node for node in program.op_nodes if segment_of(node) is not None]
        names = sorted({op_name(n.target) for n in taken if isinstance(n.target, torch._ops.OpOverload)})
        if self._compiled_error(expected, arguments, frozenset(names)) > self.tolerance:
            message = f"the compiled module differs by {error:.1e}, also with all operators in PyTorch"
            return self._result(message, error, self.pipeline.passes[-1].name)
        guilty = needed(names, lambda kept: self._fails_with(kept, names, expected, arguments))
        self.said.append(f"it is right once these stay in PyTorch: torch_executed_ops={{{', '.join(guilty)}}}")
        found = [node for node in taken if op_name(node.target) in guilty]
        message = f"the compiled module differs by {error:.1e} if {' and '.join(guilty)} are in TensorRT"
        return self._result(message, error, "splice", tuple(suspect(node) for node in found[:8]))

    def _fails_with(
        self, kept: Sequence[str], names: Sequence[str], expected: Mapping[str, torch.Tensor], arguments: Arguments
    ) -> bool:
        return self._compiled_error(expected, arguments, frozenset(names) - set(kept)) > self.tolerance

    def _compiled_error(
        self, expected: Mapping[str, torch.Tensor], arguments: Arguments, in_torch: frozenset[str]
    ) -> float:
        gpu = torch.cuda.is_available()
        settings = self.ctx.settings
        excluded = {*settings.torch_executed_ops, *in_torch}
        settings = settings.updated({"torch_executed_ops": excluded, "executor": "tensorrt" if gpu else "reference"})
        report = PassManager(self.pipeline, ctx=replace(self.ctx, settings=settings)).run(self.program)
        compiled: Any = report.compiled
        # A copy, since the module shares its weights with the model, and moving would move these.
        compiled = copy.deepcopy(compiled).to("cuda") if gpu else compiled
        found = _outputs(compiled, _moved(arguments, "cuda" if gpu else None))
        return self._distance(expected, found)

    def _result(
        self,
        message: str,
        value: float,
        stage: str = "",
        suspects: tuple[Suspect, ...] = (),
        segment: str | None = None,
        script: str = "",
    ) -> Bisection:
        text = f"{message}."
        return Bisection(self.metric, self.tolerance, value, stage, segment, suspects, text, tuple(self.said), script)


def needed(names: Sequence[str], fails: Any) -> list[str]:
    """A small set of names with which something fails: without any one of them it does not."""
    kept, size = list(names), max(1, len(names) // 2)
    while size:
        start = 0
        while start < len(kept):
            rest = kept[:start] + kept[start + size :]
            if rest and fails(rest):
                kept = rest
            else:
                start += size
        size //= 2
    return kept


def _outputs(module: Any, arguments: Arguments) -> dict[str, torch.Tensor]:
    args, kwargs = _moved(arguments)
    with torch.no_grad():
        leaves = pytree.tree_flatten_with_path(module(*args, **kwargs))[0]
    return {f"output{pytree.keystr(path)}": leaf for path, leaf in leaves if isinstance(leaf, torch.Tensor)}


def _moved(values: Any, device: str | None = None) -> Any:
    """Copies of tensors, on a device if one is named."""
    return pytree.tree_map(
        lambda x: (
            (x.detach().to(device, copy=True) if device else x.detach().clone()) if isinstance(x, torch.Tensor) else x
        ),
        values,
    )
