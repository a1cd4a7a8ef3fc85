"""Whether a model computes with what it changes in Python when it is called: a graph would have the first value."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..ir.source import own_line
from .kept_state import kept_values
from .other_forward import other_forward
from .python_state import Place, PythonState, python_state_kept, same_value
from .size_trial import OperatorLog

Traced = Callable[[], AbstractContextManager[Any]]

_CALLS = 5
_LATER = 1000


@contextmanager
def python_state_watched(model: nn.Module) -> Iterator[list[Place]]:
    """While entered, calls of the model note in the list what they change of its Python state, which is kept."""
    original, found = model.forward, list[Place]()

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_dynamo_compiling():  # it would trace what looks at the state; the model was called before
            return original(*args, **kwargs)
        before = PythonState(model)
        try:
            return original(*args, **kwargs)
        finally:
            found.extend(before.changed())

    with python_state_kept(model), other_forward(model, forward):
        yield found


def check_not_computed_with(
    changed: Sequence[Place], model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], traced: Traced
) -> None:
    """Call the model several times with the same arguments, and compare what it does.

    Args:
        changed: what a call changes of its Python state; the model is not called if that is nothing.
        model: is left as it was.
        args: example arguments, likewise.
        kwargs: those given by name.
        traced: enters what tracing the model enters.

    Raises:
        UserError: a later call does something else than the first one, because of what the model keeps in Python. It
            names that, and the line that changes it.
    """
    if not changed:
        return
    calls = _Calls(model, args, kwargs, traced)
    if not calls.differ():
        return
    place = next((place for place in changed if calls.depend_on(place)), changed[0])
    raise UserError(_refusal(place, calls.line_of(place)))


def _refusal(place: Place, line: str | None) -> str:
    at = f" at {line}" if line else ""
    if place.draws:
        return (
            f"the model computes with random numbers that {place.name!r} draws in Python{at}, and a compiled program "
            "would have the same ones in every call: draw them with torch, or give them as an input."
        )
    return (
        f"the model computes with {place.name!r}, which it changes in Python when it is called{at}, and a compiled "
        "program would have the value of one call for good: keep it in a buffer (register_buffer) that is written in "
        "place, as in self.n.add_(1), or make it an input and a result."
    )


@dataclass(frozen=True)
class _Done:
    """What a call did: its results with what it left in arguments and buffers, and the operators that it called."""

    values: Sequence[Any]
    operators: Sequence[tuple[str, Any, Any]]

    def is_same(self, other: _Done) -> bool:
        # Values may be equal by chance, as where they are all zero. Other operators are no difference of their own: a
        # model may keep what it has computed once.
        same_names = [call[0] for call in self.operators] == [call[0] for call in other.operators]
        if (same_names and self.operators != other.operators) or len(self.values) != len(other.values):
            return False
        return all(map(_is_equal, self.values, other.values))


def _is_equal(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) and not isinstance(other, torch.Tensor):
        return one is other or bool(one == other) or (one != one and other != other)
    try:
        torch.testing.assert_close(one, other, equal_nan=True, check_stride=False)
    except AssertionError:
        return False
    return True


class _Calls:
    """Calls of a model, from the state that it is in, which is that before and after them."""

    def __init__(self, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], traced: Traced) -> None:
        self._model, self._call, self._traced = model, (tuple(args), dict(kwargs)), traced

    def differ(self) -> bool:
        """Whether later calls do something else than the first one; False if that raises already."""
        with python_state_kept(self._model):
            try:
                first = self._done()
            except Exception:
                return False
            last: list[tuple[Place, Any, Any]] = []
            for _ in range(_CALLS - 1):
                before = PythonState(self._model)
                if self._does_other_than(first):
                    return True
                last = [(place, before.value(place), place.value()) for place in before.changed()]
                if not last:
                    return False
            return _count_on(last) and self._does_other_than(first)

    def depend_on(self, place: Place) -> bool:
        """Whether a call does something else where only this is as after a call."""
        with python_state_kept(self._model):
            first = self._done()
            value = place.value()
        with python_state_kept(self._model):
            place.put(value)
            return self._does_other_than(first)

    def line_of(self, place: Place) -> str | None:
        """The user's line that changes something, as "file:line: text"; None if it is not known."""
        state = PythonState(self._model)
        lines: dict[FrameType, int] = {}
        found: list[str | None] = []

        def look(frame: FrameType, event: str, argument: Any) -> Any:
            if not found and frame in lines and not same_value(state.value(place), place.value()):
                found.append(own_line(frame, lines[frame]))
            lines[frame] = frame.f_lineno
            return look

        def enter(frame: FrameType, event: str, argument: Any) -> Any:
            return None if found or own_line(frame, frame.f_lineno) is None else look(frame, event, argument)

        before = sys.gettrace()
        try:
            with python_state_kept(self._model):
                sys.settrace(enter)
                self._done()
        finally:
            sys.settrace(before)
        return found[0] if found else None

    def _does_other_than(self, first: _Done) -> bool:
        try:
            return not self._done().is_same(first)
        except Exception:
            return True

    def _done(self) -> _Done:
        """Call the model once; arguments and buffers are as before then."""
        owners = [module._buffers for module in self._model.modules()]
        buffers = [(owner, name, tensor) for owner in owners for name, tensor in owner.items() if tensor is not None]
        args, kwargs = pytree.tree_map_only(torch.Tensor, torch.Tensor.clone, self._call)
        log = OperatorLog()
        with kept_values(tensor for *_, tensor in buffers), torch.random.fork_rng(), torch.no_grad(), self._traced():
            torch.manual_seed(0)
            try:
                with log:
                    results = self._model(*args, **kwargs)
                left = [owner[name] for owner, name, _ in buffers]
                leaves = pytree.tree_leaves((results, args, kwargs, left))
                values = [leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
                return _Done(values, log.calls)
            finally:
                for owner, name, tensor in buffers:
                    owner[name] = tensor


def _count_on(changes: Sequence[tuple[Place, Any, Any]]) -> bool:
    """Let what counts calls be as after many more of them; whether anything does."""
    counts = [change for change in changes if type(change[1]) is type(change[2]) is int]
    for place, before, now in counts:
        place.put(now + _LATER * (now - before))
    return bool(counts)
