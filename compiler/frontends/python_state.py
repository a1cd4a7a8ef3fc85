"""What a model keeps in Python from one call to the next: numbers, lists, dicts and objects that are its attributes.

A graph has them as they were in the call that was traced. So a model may change them, and compute without them.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import random
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_DICTS = (dict, OrderedDict, defaultdict, Counter)
_LISTS = (list, deque)
_NOT_PYTHON = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "forward"})
"""Attributes of modules that hold what is traced, or that tracing itself puts there."""
_PLAIN = (int, float, complex, str, bytes, bool, type(None))
_LIBRARIES = frozenset({"torch", "builtins", "typing", "abc", "enum", "logging", "threading", "weakref"})
_none = object()
_DEPTH = 4
_MOST = 100_000


@dataclass(frozen=True)
class Place:
    """Where something is kept.

    Attributes:
        name: for people, such as "blocks.0.n".
        container: what holds it: a dict, list or set, or a class; what draws random numbers, for the state of it.
        key: its key in a dict, or name in a class; None for all that is in the container.
    """

    name: str
    container: Any
    key: Any

    @property
    def draws(self) -> bool:
        """Whether it is the state of what draws random numbers."""
        return _draws(self.container)

    def value(self) -> Any:
        """What is there."""
        if self.draws:
            return _state(self.container)
        content = _content(self.container)
        return content.get(self.key, _none) if isinstance(content, dict) else content

    def put(self, value: Any) -> None:
        """Have something else there, that was there at another time."""
        if self.draws:
            _set_state(self.container, value)
        elif isinstance(content := _content(self.container), dict):
            rest = {key: item for key, item in content.items() if key != self.key}
            _put(self.container, rest if value is _none else {**rest, self.key: value})
        else:
            _put(self.container, value)


def _shared_sources() -> Iterator[tuple[str, Any]]:
    """What draws the random numbers of Python and numpy that everybody shares."""
    yield "random", random._inst
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        yield "numpy.random", numpy.random.mtrand._rand


def _draws(value: Any) -> bool:
    """Whether something draws random numbers: of Python's, or numpy's, old or new."""
    return (isinstance(value, random.Random) and not isinstance(value, random.SystemRandom)) or (
        type(value).__module__.startswith("numpy.random") and type(value).__name__ in ("RandomState", "Generator")
    )


def _state(source: Any) -> Any:
    """The state of what draws random numbers, without arrays."""
    if isinstance(source, random.Random):
        return source.getstate()
    return _plain(source.get_state(legacy=False) if hasattr(source, "get_state") else source.bit_generator.state)


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _plain(item) for key, item in state.items()}
    return tuple(state.tolist()) if hasattr(state, "tolist") else state


def _set_state(source: Any, state: Any) -> None:
    if isinstance(source, random.Random):
        source.setstate(state)
    elif hasattr(source, "set_state"):
        source.set_state(state)
    else:
        source.bit_generator.state = state


class PythonState:
    """The Python state of a model at one time, with the classes and global variables that its modules' code has."""

    def __init__(self, model: nn.Module) -> None:
        self._containers: dict[int, tuple[str, Any, Any]] = {}
        self._random: dict[int, tuple[str, Any, Any]] = {}
        for name, source in _shared_sources():
            self._remember(name, source, 0)
        for name, module in _modules(model):
            self._remember(name, module, 0)
            for kind in type(module).__mro__:
                if not _is_library(kind.__module__):
                    self._remember(kind.__name__, kind, 0)
                    code = vars(kind).get("forward")
                    if isinstance(code, types.FunctionType):
                        self._remember("", code.__globals__, _DEPTH - 2)
                        self._remember("", code, 0)

    def changed(self) -> list[Place]:
        """What is not as it was."""
        places = []
        for name, container, before in self._containers.values():
            now = _content(container)
            if not isinstance(before, dict):
                places += [] if same_value(before, now) else [Place(name, container, None)]
                continue
            keys = [key for key in {**before, **now} if not same_value(before.get(key, _none), now.get(key, _none))]
            places += [Place(_joined(name, key), container, key) for key in keys]
        drawn = (item for item in self._random.values() if not same_value(item[2], _state(item[1])))
        return [*places, *(Place(name, source, None) for name, source, _ in drawn)]

    def value(self, place: Place) -> Any:
        """What was at a place."""
        if place.draws:
            return self._random[id(place.container)][2]
        _, _, before = self._containers.get(id(place.container), ("", None, {}))
        return before.get(place.key, _none) if isinstance(before, dict) else before

    def restore(self) -> None:
        """Put everything back."""
        for _, container, before in self._containers.values():
            if not same_value(before, _content(container)):
                _put(container, before)
        for _, source, state in self._random.values():
            _set_state(source, state)

    def _remember(self, name: str, value: Any, depth: int) -> None:
        if _draws(value):
            self._random.setdefault(id(value), (name, value, _state(value)))
            return
        container = _container(value)
        if container is None or id(container) in self._containers or depth > _DEPTH:
            return
        content = _content(container)
        if len(content) > _MOST:
            return
        self._containers[id(container)] = (name, container, _kept(content))
        for key, item in content.items() if isinstance(content, dict) else enumerate(content):
            if not isinstance(item, nn.Module):
                self._remember(_joined(name, key), item, depth + 1)


@contextmanager
def python_state_kept(model: nn.Module) -> Iterator[PythonState]:
    """Afterwards, the model's Python state is as before."""
    state = PythonState(model)
    try:
        yield state
    finally:
        state.restore()


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a model, or of that of which it has a method as `forward`."""
    yield from model.named_modules()
    owner = getattr(inspect.unwrap(model.forward), "__self__", None)
    if isinstance(owner, nn.Module) and owner is not model:
        yield from owner.named_modules()


def _is_library(module: str) -> bool:
    return module.partition(".")[0] in _LIBRARIES


def _joined(name: str, key: Any) -> str:
    """How an item of a container is written."""
    if isinstance(key, str) and key.isidentifier():
        return f"{name}.{key}" if name else key
    return f"{name}[{key!r:.40}]"


def _container(value: Any) -> Any:
    """What holds the parts of a value that can be changed: itself, or its attributes; None if it has none."""
    if type(value) in (*_DICTS, *_LISTS, set, tuple):
        return value
    if isinstance(value, type | types.FunctionType):
        return None if _is_library(value.__module__ or "") else value
    if isinstance(value, nn.Module):
        return vars(value)
    if isinstance(value, torch.Tensor | types.ModuleType) or _is_library(type(value).__module__):
        return None
    return getattr(value, "__dict__", None)


def _content(container: Any) -> Any:
    if isinstance(container, type):
        return {name: item for name, item in vars(container).items() if _is_data(name, item)}
    if isinstance(container, types.FunctionType):
        return {name: item for name, (_, item) in _variables(container).items()}
    if isinstance(container, dict):
        if "__builtins__" in container:  # global variables, where dynamo has some of its own
            return {name: item for name, item in container.items() if _is_data(name, item)}
        return {name: item for name, item in container.items() if not (isinstance(name, str) and name in _NOT_PYTHON)}
    return list(container) if isinstance(container, deque | tuple) else copy.copy(container)


def _variables(function: types.FunctionType) -> dict[str, tuple[types.CellType, Any]]:
    """The variables of outer functions that a function uses, and their values."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # it has no value yet
            found[name] = (cell, cell.cell_contents)
    return found


def _is_data(name: str, item: Any) -> bool:
    return not name.startswith("__") and (isinstance(item, _PLAIN) or type(item) in (*_DICTS, *_LISTS, set))


def _kept(content: Any) -> Any:
    """The content, with copies of iterators, which change when they are read."""
    if isinstance(content, dict):
        return {key: _copied(item) for key, item in content.items()}
    return [_copied(item) for item in content] if isinstance(content, list) else content


def _copied(item: Any) -> Any:
    if type(item).__module__ != "itertools" and not type(item).__name__.endswith("_iterator"):
        return item
    try:
        return copy.copy(item)
    except TypeError:  # since Python 3.14
        return item


def _put(container: Any, content: Any) -> None:
    if isinstance(container, type):
        for name in set(_content(container)) - set(content):
            delattr(container, name)
        for name, item in content.items():
            if vars(container).get(name, _none) is not item:
                setattr(container, name, item)
    elif isinstance(container, types.FunctionType):
        for name, (cell, _) in _variables(container).items():
            cell.cell_contents = content.get(name)
    elif isinstance(container, dict):
        for name in set(_content(container)) - set(content):
            del container[name]
        container.update(content)
    elif not isinstance(container, tuple):
        container.clear()
        container.update(content) if isinstance(container, set) else container.extend(content)


def same_value(one: Any, other: Any) -> bool:
    """Whether two values that were at one place are the same: plain ones equal, others one object."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_value(one[key], other[key]) for key in one)
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, set | torch.Size) or type(one) in _PLAIN:
        return bool(one == other) or (one != one and other != other)
    if type(one).__module__ == "itertools" or type(one).__name__.endswith("_iterator"):
        return repr(one) == repr(other) if type(one).__name__ == "count" else _position(one) == _position(other)
    return False


def _position(iterator: Any) -> Any:
    hint: Callable[[], int] | None = getattr(iterator, "__length_hint__", None)
    return hint() if hint is not None else None
