"""Which variant an operator is computed by: the default, what a preset prefers, or what was measured to be best."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ...compiler.ir.call import Call
from ...compiler.ir.ledger import Reason
from ...compiler.ir.program import Program, is_symbolic
from ...compiler.ir.undecided import UndecidedSize, sizes_not_guessed
from ...compiler.pass_base import Context
from .float_weights import why_float

if TYPE_CHECKING:
    from ...compiler.ir.tuning import Tuning


@dataclass(frozen=True)
class Choice:
    """The variant of a node: its name, if there are several; `reason` is set where it stays in PyTorch."""

    name: str | None = None
    reason: Reason | None = None


class VariantChoice:
    """Chooses variants for the nodes of one program."""

    def __init__(self, program: Program, ctx: Context) -> None:
        self._constants = program.constants
        self._registry, self._settings = ctx.converters, ctx.settings
        self._tuning: Tuning | None = ctx.settings.tuning
        if self._tuning is not None:
            problem = wrong_place(self._tuning)
            if problem is not None:
                ctx.note(problem)
                warnings.warn(problem, RuntimeWarning, stacklevel=2)

    def of(self, node: Node) -> Choice:
        """The variant of a node that TensorRT can take."""
        converter = self._registry.get(node.target)
        if converter is None or is_symbolic(node):
            return Choice()
        call = Call(node)
        try:
            with sizes_not_guessed(node.graph):
                possible = [variant.name for variant in converter.possible(call, self._is_constant)]
                wanted = None
                if self._tuning is not None:
                    from ...compiler.ir.tuning import ONE_WAY, PYTORCH, pattern_of

                    pattern = pattern_of(node, self._constants)
                    # Where there is one way only, it is measured under the name of all such.
                    ways = possible or [ONE_WAY]
                    wanted = self._tuning.best(pattern, ways, self._settings.preset, self._settings.max_error)
                    default = converter.chosen(call, self._is_constant, None, self._settings.preset)
                    if wanted is not None and default is not None and self._is_as_good(pattern, default.name, wanted):
                        wanted = default.name
                    if wanted == PYTORCH:
                        return Choice(reason=Reason("TP306", self._tuning.why_more_exact(pattern, ways)))
                small = self._settings.quantised_weights == "small"
                reason = why_float(node, self._constants, self._tuning, small)
                if reason is not None:
                    return Choice(reason=reason)
                chosen = converter.chosen(call, self._is_constant, wanted, self._settings.preset)
        except UndecidedSize:
            return Choice()
        return Choice(None if chosen is None else chosen.name)

    def _is_as_good(self, pattern: str, default: str, wanted: str) -> bool:
        """Whether the default takes hardly longer than the fastest, and is exact enough."""
        assert self._tuning is not None
        ways = (default, wanted)
        allowed = self._tuning.allowed(pattern, ways, self._settings.preset, self._settings.max_error)
        return all(name in allowed for name in ways) and allowed[default].us <= allowed[wanted].us * CLEARLY

    def _is_constant(self, argument: Any) -> bool:
        return isinstance(argument, Node) and argument.name in self._constants


CLEARLY = 1.03
"""How many times a default must take what another variant does to give way to it: less may be noise."""


def wrong_place(tuning: Tuning) -> str | None:
    """Why what a tuning says may not hold here, as far as that is known; None if it may."""
    if torch.cuda.is_available():
        here = torch.cuda.get_device_name()
        if here != tuning.gpu:
            return (
                f"{tuning.name} was measured on {tuning.gpu}, and this machine has {here}, where other variants may be "
                "faster: tune again."
            )
    return None
