"""Functions and classes whose text is not known, such as those typed at a prompt, as code that makes them again."""

from __future__ import annotations

import base64
import dataclasses
import dis
import inspect
import marshal
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, get_origin

_GENERATED = frozenset(
    {
        *("__module__", "__qualname__", "__dict__", "__weakref__", "__annotations__", "__annotate_func__"),
        *("__annotations_cache__", "__annotate__", "__static_attributes__", "__firstlineno__", "__doc__"),
        *("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__replace__"),
    }
)
_OF_DATACLASSES = frozenset({"__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"})
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})


class Unknown(Exception):
    """Something cannot be written down; the text says what."""


def function_code(value: types.FunctionType, define: Callable[[Any, str], str], literal: Callable[[Any], Any]) -> str:
    """An expression that makes a function again, for the same release of Python.

    Args:
        value: the function.
        define: defines a value that the function uses under a name, and returns the name that it has in the script.
        literal: the code of a plain value, or None.

    Raises:
        Unknown: a default is no plain value, or it is a method that calls `super()`.
    """
    cells = []
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        if name == "__class__":
            raise Unknown(f"{value.__name__} calls super()")
        cells.append(f"types.CellType({define(cell.cell_contents, name)})")
    for name in _global_names(value.__code__):
        if name in value.__globals__ and value.__globals__[name] is not value:
            define(value.__globals__[name], name)
    defaults = None if value.__defaults__ is None else literal(value.__defaults__)
    by_name = None if value.__kwdefaults__ is None else literal(value.__kwdefaults__)
    if (defaults is None) != (value.__defaults__ is None) or (by_name is None) != (value.__kwdefaults__ is None):
        raise Unknown(f"a default of {value.__name__} is no plain value")
    text = base64.b64encode(marshal.dumps(value.__code__)).decode()
    pieces = "\n    ".join(repr(text[start : start + 100]) for start in range(0, len(text), 100))
    closure = f"({', '.join(cells)},)" if cells else "None"
    made = f"code_of({pieces!s}\n)" if "\n" not in pieces else f"code_of(\n    {pieces}\n)"
    made = f"types.FunctionType({made}, globals(), {value.__name__!r}, {defaults}, {closure})"
    return made if by_name is None else f"with_defaults({made}, {by_name})"


def class_code(value: type, define: Callable[[Any, str], str], literal: Callable[[Any], Any]) -> str:
    """An expression that makes a class again, a dataclass too; arguments and errors are those of `function_code`."""
    is_data = "__dataclass_fields__" in vars(value)
    fields = {item.name: item for item in dataclasses.fields(value)} if is_data else {}
    members = []
    for name, item in vars(value).items():
        if name in _GENERATED or (is_data and name in _OF_DATACLASSES):
            continue
        members.append(f"{name!r}: {_member_code(item, define, literal)}")
    annotations = {name: note for name, note in _annotations(value).items() if name in fields}
    for name, item in fields.items():
        if item.default_factory is not dataclasses.MISSING and name in annotations:
            raise Unknown(f"the field {name} of {value.__name__} has a factory")
    if annotations:
        notes = {name: note if isinstance(note, str) else _type_text(note) for name, note in annotations.items()}
        members.append(f"'__annotations__': {notes!r}")
    members.append("'__module__': __name__")
    bases = [define(base, base.__name__) for base in value.__bases__ if base is not object]
    made = f"type({value.__name__!r}, ({''.join(f'{base}, ' for base in bases)}), {{{', '.join(members)}}})"
    if not is_data:
        return made
    return f"dataclasses.dataclass(frozen={value.__dataclass_params__.frozen})({made})"  # type: ignore[attr-defined]


HELP = '''def code_of(text: str) -> types.CodeType:
    """The code of a function whose text is not known."""
    if sys.version_info[:2] != {version}:
        sys.exit("This file holds code of Python {dotted}: run it there.")
    return marshal.loads(base64.b64decode(text))


def with_defaults(function, defaults):
    """The function with defaults of arguments that are given by name."""
    function.__kwdefaults__ = defaults
    return function'''.format(version=tuple(sys.version_info[:2]), dotted=".".join(map(str, sys.version_info[:2])))
"""What such expressions call."""

IMPORTS = ("import base64", "import dataclasses", "import marshal", "import sys", "import types")


def _member_code(item: Any, define: Callable[[Any, str], str], literal: Callable[[Any], Any]) -> str:
    if isinstance(item, staticmethod | classmethod):
        wrapped: Any = item.__func__
        return f"{type(item).__name__}({function_code(wrapped, define, literal)})"
    if isinstance(item, property) and item.fget is not None:
        getter: Any = item.fget
        return f"property({function_code(getter, define, literal)})"
    if inspect.isfunction(item):
        return function_code(item, define, literal)
    text = literal(item)
    if text is None:
        raise Unknown(f"a member of the class is a {type(item).__name__}")
    return str(text)


def _annotations(value: type) -> Mapping[str, Any]:
    found = inspect.get_annotations(value)
    class_variable: Any = ClassVar
    return {name: note for name, note in found.items() if get_origin(note) is not class_variable}


def _type_text(note: Any) -> str:
    return note.__name__ if isinstance(note, type) and get_origin(note) is None else str(note)


def _global_names(code: types.CodeType) -> Iterator[str]:
    """Names that code reads outside of itself, and that of the functions in it."""
    found: dict[str, None] = {}
    waiting = [code]
    while waiting:
        item = waiting.pop()
        found |= {str(step.argval): None for step in dis.get_instructions(item) if step.opname in _LOADS}
        waiting += [constant for constant in item.co_consts if isinstance(constant, types.CodeType)]
    yield from found
