"""Where in the model PyTorch decided something by a size, or made a number of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from ..ir.source import current_line

_NUMBER_OF = re.compile(r"\b(len|int|float|bool|round|range|math\.\w+)\(")


@contextmanager
def lines_of_decisions(caller: str) -> Iterator[None]:
    """While entered, PyTorch notes the user's line with what it assumes of sizes, also where no dynamo tells it.

    `caller` is the file of what runs the user's code.
    """
    original = ShapeEnv._get_sloc

    def with_line(self: ShapeEnv, *args: Any, **kwargs: Any) -> Any:
        noted = original(self, *args, **kwargs)
        return replace(noted, maybe_user_loc=current_line(caller) or noted.maybe_user_loc)

    setattr(ShapeEnv, "_get_sloc", with_line)  # noqa: B010  (mypy takes functions for final)
    try:
        yield
    finally:
        setattr(ShapeEnv, "_get_sloc", original)  # noqa: B010


def line_of_guard(guard: Any) -> str | None:
    """The user's line where a condition was noted, as "file:line: text"; None if it is not known."""
    return getattr(getattr(guard, "sloc", None), "maybe_user_loc", None)


def line_of_number(size: int | torch.SymInt) -> str | None:
    """The user's line where a size became a number for good; None if it is not known."""
    if not isinstance(size, torch.SymInt):
        return None
    noted = getattr(size.node.shape_env, "replacements_slocs", {}).get(size.node._expr)
    return getattr(noted, "maybe_user_loc", None)


def line_of_limit(size: torch.SymInt, *, upper: bool) -> str | None:
    """The user's line for which a size has a largest (or smallest) value; None if it is not known."""
    noted = getattr(size.node.shape_env, "var_to_range_sloc", {}).get(size.node.expr)
    return getattr(getattr(noted, "upper" if upper else "lower", None), "maybe_user_loc", None)


def makes_a_number(line: str | None) -> bool:
    """Whether a line has a call that makes a number of what it is given, such as len()."""
    return line is not None and _NUMBER_OF.search(line) is not None


def advice_on_number(line: str | None) -> str:
    """What to do about a line that makes a number of a size, as the end of a sentence."""
    found = None if line is None else _NUMBER_OF.search(line)
    if found is None:
        return "declare that, or change the model"
    if found[1] == "len":
        return "len() of a tensor is a number for PyTorch: write x.shape[0] there, or declare the size"
    if found[1] == "math.sqrt":
        return "math.sqrt() of a size is a number for PyTorch: write n ** 0.5 there, or declare the size"
    return f"{found[1]}() makes a number of a size: compute with the size itself there, or declare it"
