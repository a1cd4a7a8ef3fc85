"""Conditions on declared sizes that hold for all of them, and that dynamo does not prove."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sympy
from torch.fx.experimental import symbolic_shapes
from torch.fx.experimental.symbolic_shapes import ConstraintViolationError

from .guard_texts import NoCondition, condition_in_text

_VIOLATED = re.compile(
    r"  - Not all values of .* in the specified range (?:(?P<low>\d+) <= )?\S+ <= (?P<high>\d+) "
    r"satisfy the generated guard (?P<condition>.+?)\.?"
)
_MOST = 4096
"""Sizes to try."""


def hold_for_all(error: Exception) -> bool:
    """Whether all that dynamo says a model needs of declared sizes is so for each of them.

    A size of 1 is left out: it gets a graph of its own.
    """
    return isinstance(error, ConstraintViolationError) and not any(
        found is None or not _holds(found) for found in map(_VIOLATED.fullmatch, _lines(error))
    )


def condition_not_held(error: Exception) -> str | None:
    """The first condition that does not hold for some declared size, in dynamo's words; None if it tells of none."""
    found = filter(None, map(_VIOLATED.fullmatch, _lines(error)))
    return next((item["condition"] for item in found if not _holds(item)), None)


def _lines(error: Exception) -> list[str]:
    return [line for line in str(error).splitlines()[1:] if line.strip()]


def _holds(found: re.Match[str]) -> bool:
    sizes = range(max(2, int(found["low"] or 2)), int(found["high"]) + 1)
    try:
        condition = condition_in_text(found["condition"])
    except NoCondition:
        return False
    symbols = list(condition.free_symbols)
    if len(symbols) != 1 or len(sizes) > _MOST:
        return False
    return all(condition.xreplace({symbols[0]: sympy.Integer(size)}) == sympy.true for size in sizes)


@contextmanager
def limits_not_proved() -> Iterator[None]:
    """While entered, dynamo notes conditions on sizes with declared ranges, as on others, and does not raise."""
    original: Any = symbolic_shapes.StrictMinMaxConstraint

    class Noted(original):  # type: ignore[misc]
        __slots__ = ()

        def __init__(self, warn_only: bool, vr: Any) -> None:
            original.__init__(self, warn_only=True, vr=vr)

    setattr(symbolic_shapes, "StrictMinMaxConstraint", Noted)  # noqa: B010  (mypy takes classes for final)
    try:
        yield
    finally:
        setattr(symbolic_shapes, "StrictMinMaxConstraint", original)  # noqa: B010
