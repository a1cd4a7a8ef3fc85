"""Converters and decompositions that come from elsewhere: from the user, or from packages that are installed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any, ClassVar

import torch

from ..errors import UserError, did_you_mean
from ..ir.text import op_name
from ..settings import Settings
from .registry import Converter

GROUP = "trt_passes.converters"
"""The group of entry points by which a package offers converters: a module, a converter or a decomposition each."""


@dataclass(frozen=True)
class Decomposition:
    """A function of PyTorch that does what an operator does, in operators that are converted.

    Attributes:
        targets: the overloads.
        rule: takes their arguments.
    """

    targets: tuple[Any, ...]
    rule: Callable[..., Any]
    is_plugin: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The operators that it decomposes, as text."""
        return ", ".join(map(op_name, self.targets))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives."""
        return self.rule(*args, **kwargs)


def decomposition(*targets: Any) -> Callable[[Callable[..., Any]], Decomposition]:
    """Make a decomposition of the decorated function, for the option `converters`.

    Args:
        targets: operators, as `converter` takes them.

    Raises:
        UserError: there is no such operator.
    """
    overloads = overloads_of(targets)
    return lambda rule: Decomposition(overloads, rule)


def converters_in(plugins: Iterable[Any]) -> tuple[Converter, ...]:
    """The converters among plugins, one for each operator; of two for the same operator, the later one."""
    by_target = {target: item for item in plugins if isinstance(item, Converter) for target in item.targets}
    return tuple(replace(item, targets=(target,)) for target, item in by_target.items())


def rules_in(plugins: Iterable[Any]) -> dict[Any, Callable[..., Any]]:
    """The decompositions among plugins, by operator."""
    return {target: item.rule for item in plugins if isinstance(item, Decomposition) for target in item.targets}


def overloads_of(targets: Iterable[Any]) -> tuple[Any, ...]:
    """Operator overloads.

    Args:
        targets: overloads, such as `torch.ops.aten.erfc.default`; packets, which stand for all of their overloads; what
            `torch.library.custom_op` made; or names, such as "mylib::op" and "mylib::op.overload".

    Raises:
        UserError: there is no such operator.
    """
    found: list[Any] = []
    for target in targets:
        target = getattr(target, "_opoverload", target)
        if isinstance(target, str):
            target = _named(target)
        if isinstance(target, torch._ops.OpOverloadPacket):
            packet: Any = target
            found += [getattr(packet, name) for name in packet.overloads()]
        elif isinstance(target, torch._ops.OpOverload):
            found.append(target)
        else:
            raise UserError(f"{target!r} is no operator: give torch.ops.library.name, or its name as a text.")
    if not found:
        raise UserError("a converter is for operators: name at least one.")
    return tuple(found)


def _named(text: str) -> Any:
    library, _, name = text.replace("torch.ops.", "").replace("::", ".").partition(".")
    place: Any = getattr(torch.ops, library)
    for part in name.split("."):
        try:
            place = getattr(place, part)
        except AttributeError:
            known = [item for item in dir(place) if not item.startswith("_")]
            raise UserError(f"there is no operator {text!r} in this process.{did_you_mean(part, known)}") from None
    return place


@functools.cache
def installed_plugins() -> tuple[Any, ...]:
    """Converters and decompositions of packages that are installed, see `GROUP`.

    Raises:
        UserError: one of them cannot be loaded.
    """
    found: list[Any] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda item: item.name):
        try:
            offered = Settings(converters=(entry.load(),)).converters
        except Exception as error:
            place = f"the entry point {entry.name!r} of {GROUP} ({entry.value})"
            raise UserError(f"{place} cannot be loaded: {error}. Repair or remove that package.") from error
        found += offered
    return tuple(found)
