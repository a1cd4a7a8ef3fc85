"""Which pass changes what the program computes, and at which node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..compiler.instruments.numerics import node_values
from ..compiler.instruments.protocol import Instrument, Step
from ..compiler.ir.program import Program
from .networks import Measure


class Steps(Instrument):
    """Keeps the programs before and after every pass that ran."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def after_pass(self, step: Step) -> None:
        """Keep it."""
        self.steps.append(step)


@dataclass(frozen=True)
class Rewritten:
    """The first node that a pass makes yield something else; None where no node has its name before and after."""

    node: str | None
    error: float
    changed: tuple[str, ...]
    erased: tuple[str, ...]


def first_difference(
    step: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any], measure: Measure, tolerance: float
) -> Rewritten:
    """Where the program after a pass starts to compute something else than before it.

    Args:
        step: of the pass.
        args, kwargs: to run both programs with.
        measure: of a difference.
        tolerance: above which it is one.
    """
    before, after = _values(step.before, args, kwargs), _values(step.after, args, kwargs)
    measured = {name: _error(before[name], value, measure) for name, value in after.items() if name in before}
    errors = {name: error for name, error in measured.items() if error is not None}
    touched = {*step.change.created, *step.change.rewired}
    for node in step.after.op_nodes:
        error = errors.get(node.name)
        if error is not None and error > tolerance:
            near = _changed_above(step.after, node.name, touched, errors, tolerance)
            return Rewritten(node.name, error, tuple(near), step.change.erased)
    return Rewritten(None, float("nan"), tuple(touched), step.change.erased)


def _changed_above(
    program: Program, name: str, touched: set[str], errors: Mapping[str, float], tolerance: float
) -> Sequence[str]:
    """The nodes that the pass changed between a wrong value and the right ones that it is made from."""
    found, waiting = {name}, [program.node(name)]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            right = errors.get(source.name, float("inf")) <= tolerance
            if source.op == "call_function" and source.name not in found and not right:
                found.add(source.name)
                waiting.append(source)
    return [node.name for node in program.op_nodes if node.name in found and node.name in touched]


def _values(program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    values = node_values(program, (node.name for node in program.op_nodes), args, kwargs)
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


def _error(expected: torch.Tensor, found: torch.Tensor, measure: Measure) -> float | None:
    """How far a value is from that of its name before; None if a pass gave the name to something of another shape."""
    if expected.shape != found.shape:
        return None
    both_floats = expected.dtype.is_floating_point and found.dtype.is_floating_point
    if expected.dtype != found.dtype and not both_floats:
        return None
    return measure(expected, found.to(expected.dtype))
