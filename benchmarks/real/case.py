"""What a trained model is tested by: its parts, the task that they do, and when two results of it are the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

Call = Callable[..., Any]


@dataclass(frozen=True)
class Result:
    """What a task came to: numbers, in an order and an amount that are part of the result, and words for a reader."""

    values: tuple[float, ...]
    words: str


@dataclass(frozen=True)
class Part:
    """A module that is compiled.

    Args:
        module: in eval mode, on the CPU.
        ranges: a `tp.Input` for each argument: what the module is compiled for when sizes may vary.
        more: arguments of further calls within the ranges, beside those that the task makes.
    """

    module: nn.Module
    ranges: tuple[Any, ...]
    more: tuple[tuple[Any, ...], ...] = ()


@dataclass(frozen=True)
class Case:
    """A model as its users use it.

    Args:
        package: its distribution on PyPI.
        task: what is asked of it, in a few words.
        parts: the modules that are compiled, by name.
        perform: does the task, with what stands for each part; everything around them is the package's own code.
        tolerance: how far each number of two results may be apart, in `unit`; 0 where they have to be the same.
        note: what a reader of the table has to know.
    """

    package: str
    task: str
    parts: Mapping[str, Part]
    perform: Callable[[Mapping[str, Call]], Result]
    tolerance: float = 0.0
    unit: str = ""
    note: str = ""

    def deviation(self, expected: Result, found: Result) -> float:
        """The largest difference of two results' numbers; infinite if there are more or fewer of them, or NaN."""
        if len(expected.values) != len(found.values):
            return math.inf
        differences = [_apart(want, have) for want, have in zip(expected.values, found.values, strict=True)]
        return max(differences, default=0.0)


class Standing(nn.Module):
    """A module in the place of another, for code that wants an nn.Module with the other's parameters.

    Arguments that the compiled part does not take are dropped by name.
    """

    def __init__(self, original: nn.Module, call: Call, dropped: Sequence[str] = ()) -> None:
        super().__init__()
        self.original = original
        self.call = call
        self.dropped = tuple(dropped)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **{name: value for name, value in kwargs.items() if name not in self.dropped})


def _apart(want: float, have: float) -> float:
    if want == have or (math.isnan(want) and math.isnan(have)):
        return 0.0
    difference = abs(want - have)
    return math.inf if math.isnan(difference) else difference
