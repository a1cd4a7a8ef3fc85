"""`Checking`: compares what a compiled model gives with what the model gives, on inputs of the user's, and says so."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ..errors import UserError, first_line
from ..ir.check import Check
from ..ir.program import Program
from ..pass_base import Context
from ..pipeline import Pipeline
from ..runtime.compiled_module import CompiledModule
from ..runtime.measure.distance import distance
from ..runtime.measure.errors import Errors, graph_errors, module_errors
from ..runtime.measure.lockstep import Losses
from ..runtime.program_arguments import call_arguments, eager_module, graph_arguments
from ..settings import Settings
from .numerics import TOLERANCES
from .protocol import Instrument, Step

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Checking(Instrument):
    """What the options `check` and `tolerance` ask for: a note, and a warning, where results differ too much.

    The compiled model runs on the GPU if there is one, else its networks are evaluated by PyTorch. Where results
    differ, the note names the lines that bring most of it; where they are not finite, the operator that first made
    that.

    Attributes:
        value: the relative L2 distance of the worst result, or what the metric gave; None before the check.
        passed: whether it is at most the tolerance.
        message: what the note said, where something is wrong.
        last_pass: the pass after which it looks.
    """

    def __init__(self, check: Check, tolerance: float | None = None, warn: bool = True) -> None:
        self.value: float | None = None
        self.passed: bool | None = None
        self.message = self.last_pass = ""
        self._check, self._tolerance, self._warn = check, tolerance, warn
        self._last = -1
        self._program: Program | None = None
        self._errors: Errors | None = None

    def before_pipeline(self, pipeline: Pipeline, program: Program, ctx: Context) -> None:
        """Run the model itself.

        Raises:
            UserError: it raises on these inputs.
        """
        self._last, self._ctx = len(pipeline) - 1, ctx
        self.last_pass = pipeline.passes[-1].name
        self._limit = self._tolerance or max(TOLERANCES[dtype] for dtype in ctx.settings.enabled_precisions)
        self._arguments = check_arguments(self._check, program)
        self._expected = _called(eager_module(program), self._arguments, "the model itself")

    def after_pass(self, step: Step) -> None:
        """Compare, after the last pass."""
        if step.index != self._last:
            return
        self._program, self._errors = step.after, None
        module = step.after.compiled
        if isinstance(module, CompiledModule):
            found = self._compiled(module, step.after)
        else:
            found = _called(eager_module(step.after), self._arguments, "the program")
        self.value = self._distance(found)
        self.passed = self.value <= self._limit
        self._tell(step.after, found)

    def _compiled(self, module: CompiledModule, program: Program) -> Any:
        # A copy: a call may write to the model's buffers, and segments run otherwise here.
        twin = copy.deepcopy(module) if program.mutates else copy.copy(module)
        arguments = self._arguments
        if torch.cuda.is_available() and self._ctx.settings.executor in ("auto", "tensorrt"):
            arguments = _moved(arguments, twin._usual_device())
        else:
            for segment in twin.segments.values():
                segment.executor = "pytorch" if self._ctx.settings.executor == "pytorch" else "reference"
        found = _called(twin, arguments, "the compiled model")
        return _moved(found, torch.device("cpu"))

    def _distance(self, found: Any) -> float:
        if self._check.metric is not None:
            return measured(self._check.metric, self._expected, found)
        pairs = zip(pytree.tree_leaves(self._expected), pytree.tree_leaves(found), strict=True)
        tensors = [(left, right) for left, right in pairs if isinstance(left, torch.Tensor)]
        return max((distance(left, right)[1] for left, right in tensors), default=0.0)

    def _tell(self, program: Program, found: Any) -> None:
        what = "the relative error of its results is" if self._check.metric is None else f"{_name(self._check)} gives"
        text = f"check: {what} {self.value:.2e}, and the tolerance {self._limit:.1e}"
        trouble = _not_finite(found) or _not_finite(self._expected)
        if self.passed and not trouble:
            self._ctx.note(f"{text}.")
            return
        errors = self.errors
        assert errors is not None
        exceeds = "" if self.passed else ", which it exceeds"
        self.message = f"{text}{exceeds}. {errors.explained(lines=not self.passed)}".rstrip()
        self._ctx.note(self.message)
        if self._warn and (not self.passed or errors.first_nan is not None):
            warnings.warn(f"the compiled model differs from the model: {self.message}", RuntimeWarning, stacklevel=2)

    @property
    def errors(self) -> Errors | None:
        """The errors of all nodes of the program that the last pass left; None before."""
        if self._errors is None and self._program is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._errors = self._errors_of(self._program)
        return self._errors

    def _errors_of(self, program: Program) -> Errors:
        args, kwargs = _cloned(self._arguments)
        module = program.compiled
        if not isinstance(module, CompiledModule):
            return graph_errors(program.exported.graph_module, graph_arguments(program, args, kwargs))
        twin = copy.deepcopy(module) if program.mutates else module
        networks = {item.name: item.network for item in program.segments if item.network is not None}
        places = {row.node: (row.source, row.module) for row in program.ledger}
        return module_errors(twin, twin.segments, networks, places, twin.leaves(args, kwargs))


def check_arguments(check: Check, program: Program) -> Arguments:
    """The arguments to compare with, as the program takes them."""
    args, kwargs = (check.inputs or (), dict(check.kwargs)) if check.has_inputs else call_arguments(program)
    if program.left_out is not None and program.left_out.concerns(args, kwargs):
        args, kwargs = program.left_out.removed(args, kwargs)
    device = next((tensor.device for tensor in program.constants.values()), None)
    arguments = (tuple(args), dict(kwargs))
    return arguments if device is None else _moved(arguments, device)


def losses(settings: Settings, program: Program, narrow: torch.dtype) -> Mapping[str, str]:
    """The nodes of a float32 program whose values a narrower type cannot hold, or that are too large, and why.

    On the inputs of the options `check` and `calibration`.

    Raises:
        UserError: the model does not take one of them.
    """
    run = Losses(program.exported.graph_module, narrow, program.constants, settings.max_half_output)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for what, (args, kwargs) in _inputs_of(settings, program):
            try:
                given = graph_arguments(program, _cloned(args), _cloned(kwargs))
                run.run(*given, enable_io_processing=False)
            except Exception as error:
                raise UserError(f"{what}: the model raises {type(error).__name__}: {first_line(error)}") from error
    return run.found


def _inputs_of(settings: Settings, program: Program) -> Iterator[tuple[str, Arguments]]:
    if settings.check is not None:
        yield "the inputs of option 'check'", check_arguments(settings.check, program)
    spec = program.exported.call_spec.in_spec
    count = len(pytree.tree_unflatten([None] * spec.num_leaves, spec)[0])
    number = -1
    for number, batch in enumerate(settings.calibration if settings.calibration is not None else ()):
        if isinstance(batch, Mapping):
            one = Check((), dict(batch))
        else:  # what follows the model's arguments are labels
            one = Check(tuple(batch)[:count] if isinstance(batch, list | tuple) else (batch,))
        yield f"batch {number} of option 'calibration'", check_arguments(one, program)
    if settings.calibration is not None and number < 0:
        raise UserError("option 'calibration' has no batches: give some, or leave it out.")


def measured(metric: Any, expected: Any, found: Any) -> float:
    """What a metric gives for results.

    Raises:
        UserError: it raises, or gives no number.
    """
    name = getattr(metric, "__name__", repr(metric))
    try:
        value = float(metric(expected, found))
    except Exception as error:
        raise UserError(f"the metric {name} raises {type(error).__name__} on the results: {error}") from error
    return math.inf if math.isnan(value) else value


def _name(check: Check) -> str:
    return getattr(check.metric, "__name__", repr(check.metric))


def _not_finite(value: Any) -> bool:
    leaves = (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor))
    return any(leaf.is_floating_point() and bool(leaf.isnan().any()) for leaf in leaves)


def _called(module: Any, arguments: Arguments, what: str) -> Any:
    args, kwargs = arguments
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return module(*_cloned(args), **_cloned(kwargs))
    except Exception as error:
        raise UserError(f"check: {what} raises {type(error).__name__} on the inputs to check with: {error}") from error


def _moved(value: Any, device: torch.device) -> Any:
    return pytree.tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, torch.Tensor) else leaf, value)


def _cloned(value: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, value)
