"""The rules of all operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from . import arithmetic, conversions, functions, moves, products, reductions
from .constants import Constants
from .fourier import Fourier


def rules(constants: Constants) -> Mapping[Any, Callable[..., Any]]:
    """The rule of each operator, which takes the constants that it makes from `constants`."""
    return MappingProxyType(
        {
            **moves.RULES,
            **arithmetic.RULES,
            **functions.RULES,
            **conversions.RULES,
            **products.RULES,
            **reductions.RULES,
            **Fourier(constants).rules(),
        }
    )
