"""`Numerics`: compares what the program computes after every pass with what it computed at the start."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Interpreter, Node
from torch.utils import _pytree as pytree

from ..errors import PassFailure, UserError
from ..ir.program import Program
from ..ir.source import node_at, source_of
from ..pass_base import Context
from ..pipeline import Pipeline
from ..report.report import Report
from ..runtime.measure.distance import distance as distance
from ..runtime.measure.errors import graph_errors
from ..runtime.program_arguments import call_arguments, eager_module, graph_arguments
from ..undo import is_ours
from .protocol import Instrument, Step

TOLERANCES: Mapping[torch.dtype, float] = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest relative L2 error that passes, by the lowest precision that the run enables."""


@dataclass(frozen=True)
class Divergence:
    """How far one output is from the reference after a pass.

    `output` is an output of the program, or of a segment's network ("segment-00/addmm"). `relative_l2` is
    |x - reference| / |reference| over all elements, `max_abs` the largest difference; both are infinite where only x is
    NaN, or shapes or types differ. Elements whose reference is NaN are left out. Integers and bools count as numbers.
    """

    pass_name: str
    output: str
    max_abs: float
    relative_l2: float

    @property
    def error(self) -> str:
        """Both errors in words."""
        return f"relative L2 {self.relative_l2:.2e}, largest difference {self.max_abs:.2e}"

    def __str__(self) -> str:
        return f"{self.pass_name}: {self.output}: {self.error}"


def node_errors(rows: Iterable[Divergence]) -> dict[str, float]:
    """The relative L2 error of every node that leaves a segment's network, as `convert` made it."""
    networks = (row for row in rows if row.pass_name == "convert" and not row.output.startswith("output"))
    return {row.output.partition("/")[2]: row.relative_l2 for row in networks}


class Numerics(Instrument):
    """Runs the program after every pass that changed its graph, and the networks after `convert`, on example inputs.

    Networks are evaluated by the reference executor, on the values that PyTorch computes at the segment's border.

    Args:
        inputs: positional arguments to run with; by default the examples the program was exported with.
        tolerance: largest relative L2 error; by default 1e-3, or 1e-2 / 5e-2 when float16 / bfloat16 is enabled.
        stop: raise PassFailure at the first divergence above the tolerance; otherwise only record it.
    """

    def __init__(self, inputs: Sequence[Any] | None = None, tolerance: float | None = None, stop: bool = True) -> None:
        self.rows: list[Divergence] = []
        self._inputs, self._tolerance, self._stop = inputs, tolerance, stop
        self._arguments: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self._expected: dict[str, torch.Tensor] = {}

    def before_pipeline(self, pipeline: Pipeline, program: Program, ctx: Context) -> None:
        """Run the model itself.

        Raises:
            UserError: it raises, or there are no inputs to run it with.
        """
        self.rows.clear()
        self._limit = self._tolerance or max(TOLERANCES[dtype] for dtype in ctx.settings.enabled_precisions)
        self._arguments = (tuple(self._inputs), {}) if self._inputs is not None else call_arguments(program)
        self._expected = self._reference(program)
        for name, tensor in self._expected.items():
            count = int(tensor.isnan().sum())
            if count:
                ctx.note(f"{count} of {tensor.numel()} elements of {name} are NaN in the model itself: not compared.")

    def _reference(self, program: Program) -> dict[str, torch.Tensor]:
        try:
            return self._outputs(program)
        except Exception as error:
            raise UserError(
                f"there are no numbers to compare with: the model itself raises {type(error).__name__} on these inputs"
                f"{self._place(program)}: {error}"
            ) from error

    def _place(self, program: Program) -> str:
        """Where the model raises, as " at file:line"; "" if that is not known."""
        try:
            _Recorder(program, ()).record(*self._arguments)
        except Exception as error:
            node = node_at(error)
            source = None if node is None else source_of(node)
            return "" if source is None else f" at {source}"
        return ""

    def evidence(self) -> dict[str, Any]:
        """What it takes to repeat the checks of this run: flat arguments, the model's outputs, and the tolerance."""
        leaves = pytree.tree_leaves(self._arguments)
        return {"arguments": leaves, "expected": dict(self._expected), "tolerance": self._limit}

    def after_pass(self, step: Step) -> None:
        rows: list[Divergence] = []
        if step.change.graph_changed:
            rows += self._compare(step.item.name, self._expected, self._outputs(step.after))
        if step.item.name == "convert":
            rows += self._networks(step.item.name, step.after)
        self.rows += rows
        worst = max(rows, key=lambda row: row.relative_l2, default=None)
        if self._stop and worst is not None and worst.relative_l2 > self._limit:
            why = self._why(step.after, worst.relative_l2)
            what = f"{_output_text(worst.output)} differs from the model's"
            message = f"{what}: {worst.error}, more than {self._limit:.0e}. {why}"
            own = is_ours(step.item) and self._tolerance is None
            raise PassFailure(step.item.name, message.rstrip(), ours=own)

    def _why(self, program: Program, found: float) -> str:
        """Which lines of a program bring most of an error that was found, as far as PyTorch computes it."""
        args, kwargs = self._arguments
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments = graph_arguments(program, _cloned(args), _cloned(kwargs))
            return graph_errors(program.exported.graph_module, arguments).explained(found=found)

    def after_pipeline(self, report: Report) -> None:
        self._expected = {}

    @property
    def node_errors(self) -> dict[str, float]:
        """The relative L2 error of every node that leaves a segment's network, as `convert` made it."""
        return node_errors(self.rows)

    def __str__(self) -> str:
        return "\n".join(str(row) for row in self.rows) or "no pass changed the graph"

    def _outputs(self, program: Program) -> dict[str, torch.Tensor]:
        args, kwargs = self._arguments
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = eager_module(program)(*_cloned(args), **_cloned(kwargs))
        leaves = pytree.tree_flatten_with_path(results)[0]
        return {f"output{pytree.keystr(path)}": leaf for path, leaf in leaves if isinstance(leaf, torch.Tensor)}

    def _compare(
        self, pass_name: str, expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]
    ) -> list[Divergence]:
        return [Divergence(pass_name, name, *distance(expected[name], found[name])) for name in expected]

    def _networks(self, pass_name: str, program: Program) -> list[Divergence]:
        from ..tensorrt.executor import ReferenceExecutor

        wanted = {name for segment in program.segments for name in (*segment.inputs, *segment.outputs)}
        values = _Recorder(program, wanted).record(*self._arguments)
        rows = []
        for segment in program.segments:
            built = segment.network
            assert built is not None
            feeds = {binding.name: values[name] for binding, name in zip(built.inputs, segment.inputs, strict=True)}
            results = ReferenceExecutor(built.trt, built.network, built.unreadable).run(feeds)
            for binding, name in zip(built.outputs, segment.outputs, strict=True):
                row = distance(values[name], results[binding.name])
                rows.append(Divergence(pass_name, f"{segment.name}/{name}", *row))
        return rows


def _output_text(output: str) -> str:
    """An output in words: "the output", "output[1]", "%linear_2, which leaves the network of segment-00,"."""
    if "/" not in output:
        return "the output" if output == "output" else output
    segment, _, node = output.rpartition("/")
    return f"%{node}, which leaves the network of {segment},"


class NumericsAgain(Numerics):
    """Repeats the checks of a run from its `evidence`, on a later program of it.

    Args:
        evidence: of the run.
        program: with the same arguments.
    """

    def __init__(self, evidence: Mapping[str, Any], program: Program) -> None:
        super().__init__(tolerance=evidence["tolerance"])
        spec = program.exported.call_spec.in_spec
        assert spec is not None
        args, kwargs = pytree.tree_unflatten(evidence["arguments"], spec)
        self._again = (tuple(args), dict(kwargs)), dict(evidence["expected"])

    def before_pipeline(self, pipeline: Pipeline, program: Program, ctx: Context) -> None:
        self.rows.clear()
        self._limit = self._tolerance or max(TOLERANCES[dtype] for dtype in ctx.settings.enabled_precisions)
        self._arguments, self._expected = self._again


def node_values(
    program: Program, wanted: Iterable[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """What nodes of a program yield when PyTorch runs it, by name.

    Args:
        program: it is not changed, nor are its buffers.
        wanted: names of nodes, inputs among them.
        args, kwargs: of the call.
    """
    return _Recorder(program, wanted).record(args, kwargs)


class _Recorder(Interpreter):
    """Runs a program's graph in PyTorch and keeps the values of some nodes."""

    def __init__(self, program: Program, wanted: Iterable[str]) -> None:
        super().__init__(program.exported.graph_module)
        self._program, self._wanted = program, frozenset(wanted)
        self._values: dict[str, Any] = {}

    def record(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        with torch.no_grad():
            self.run(*graph_arguments(self._program, _cloned(args), _cloned(kwargs)))
        return self._values

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n.name in self._wanted:
            self._values[n.name] = _cloned(value) if self._program.mutates else value
        return value


def _cloned(value: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, value)
