"""`Check`: what a compiled model shall be compared with the model on, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import UserError

Metric = Callable[[Any, Any], Any]
"""`metric(expected, found)`: how far results of the compiled model are from the model's; 0 is the same."""


@dataclass(frozen=True, eq=False)
class Check:
    """Compare the results of the compiled model with those of the model.

    Attributes:
        inputs: positional arguments of the model; None for the examples that it was compiled with.
        kwargs: keyword arguments.
        metric: what says how far results are from each other; None for the relative L2 distance of every tensor.
    """

    inputs: tuple[Any, ...] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    metric: Metric | None = None

    @property
    def has_inputs(self) -> bool:
        """Whether arguments were given."""
        return self.inputs is not None or bool(self.kwargs)

    @classmethod
    def of(cls, name: str, value: Any) -> Check | None:
        """The check that an option asks for: inputs, a metric, True, or a `Check` itself; None for none.

        Raises:
            UserError: it is something else.
        """
        if value is None or value is False:
            return None
        if isinstance(value, Check):
            return value
        if value is True:
            return cls()
        if isinstance(value, torch.Tensor):
            return cls((value,))
        if isinstance(value, Mapping):
            return cls((), dict(value))
        if isinstance(value, Sequence) and not isinstance(value, str):
            return cls(tuple(value))
        if callable(value):
            return cls(metric=value)
        raise UserError(
            f"option {name!r} is {value!r}: give the model's arguments as a list, a function metric(expected, found), "
            "a tp.Check of both, or True for the examples that the model is compiled with."
        )
