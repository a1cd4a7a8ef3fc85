"""Arguments that a model was compiled without, and that a call may name all the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import UserError

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
"""Kinds of parameters that may be given by position."""


@dataclass(frozen=True)
class LeftOut:
    """The parameters of a model that were at their defaults when it was compiled.

    The graph has no place for them. Callers that spell them out, as libraries do with all that a model takes, are right
    as long as they name the defaults.

    Attributes:
        given: how many arguments the model was compiled with by position.
        following: names of the parameters that may follow by position, in their order.
        defaults: numbers, texts and None, by name.
    """

    given: int
    following: tuple[str, ...]
    defaults: Mapping[str, Any]

    @classmethod
    def of(cls, forward: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> LeftOut | None:
        """Those of a function that was compiled for these arguments; None if it has none."""
        try:
            parameters = list(inspect.signature(forward).parameters.values())
        except ValueError:
            return None  # functions that are written in C do not say what they take
        positional = [item.name for item in parameters if item.kind in POSITIONAL]
        taken = {*positional[: len(args)], *kwargs}
        defaults = {
            item.name: item.default
            for item in parameters
            if item.name not in taken and (item.default is None or isinstance(item.default, bool | int | float | str))
        }
        return cls(len(args), tuple(positional[len(args) :]), defaults) if defaults else None

    def concerns(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call may have such arguments."""
        return len(args) > self.given or any(name in self.defaults for name in kwargs)

    def removed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call without them.

        Raises:
            UserError: one of them is not what it was when the model was compiled.
        """
        more = args[self.given :]
        if len(more) > len(self.following) or not set(kwargs).isdisjoint(self.following[: len(more)]):
            return args, dict(kwargs)  # the call itself tells that
        named = {**dict(zip(self.following, more, strict=False)), **kwargs}
        for name in self.defaults.keys() & named.keys():
            check_unchanged(name, self.defaults[name], named.pop(name))
        return args[: self.given], named

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"given": self.given, "following": list(self.following), "defaults": dict(self.defaults)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> LeftOut | None:
        """What `to_json` wrote; None for None, which stands for none."""
        return None if data is None else cls(int(data["given"]), tuple(data["following"]), dict(data["defaults"]))


def check_unchanged(name: str, before: Any, now: Any) -> None:
    """Raise UserError unless an argument that is part of the graph is what it was when the model was compiled."""
    if now is not before and (isinstance(now, torch.Tensor) or now != before):
        shown = "a tensor" if isinstance(now, torch.Tensor) else repr(now)
        raise UserError(
            f"argument {name!r} was {before!r} when the model was compiled, which the graph contains, and is {shown} "
            "now: compile the model for that too."
        )
