"""Python code of a user's own functions and classes, with all that they need, for a script that runs alone."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import inspect
import math
import symtable
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch._library.custom_ops import CustomOpDef

from ..tensorrt.registry import Converter, default_registry
from .code_objects import HELP, IMPORTS, Unknown, class_code, function_code

LACKING = "# This file does not run alone yet. "
"""How a line begins that says what a script lacks."""

_PLAIN = (int, float, str, bytes, bool, type(None))


class SourceCode:
    """Collects definitions, each once and after what it needs.

    What a library defines is imported; what stands in the user's own files, or in a notebook, is copied, and with it
    every name that it uses.
    """

    def __init__(self) -> None:
        self._imports: dict[str, None] = {}
        self._definitions: list[str] = []
        self._known: dict[int, str] = {}
        self._taken: dict[str, int] = {}
        self._kept: list[Any] = []
        self.missing: list[str] = []

    def __str__(self) -> str:
        if self.missing:
            self._imports["import sys"] = None
        parts = ["\n".join(sorted(self._imports))] if self._imports else []
        parts += [f"{LACKING}{text}\nprint({text!r}, file=sys.stderr)" for text in self.missing]
        return "\n\n\n".join(parts + self._definitions)

    def add(self, value: Any, name: str | None = None) -> str:
        """Define something, and return the name that it has in the script.

        Args:
            value: a function, a class, a module, or a value that a module of the user's assigns.
            name: what the code calls it; by default its own name.
        """
        wanted = name or getattr(value, "__name__", None) or "value"
        if self._known.get(id(value)) == wanted:
            return wanted
        if isinstance(value, CustomOpDef):
            return self._operator(value, wanted)
        if isinstance(value, Converter) and self._is_of_package(value, wanted):
            return self._know(value, wanted)
        if isinstance(value, Converter):
            # A function that a decorator made a converter of: its text has the decorator.
            self._copy(inspect.unwrap(value.convert), wanted)
            return self._know(value, wanted)
        if isinstance(value, types.ModuleType):
            self._module(value, wanted)
        elif _is_library(value):
            self._import_from(value, wanted)
        elif isinstance(value, type) or inspect.isfunction(value):
            self._copy(value, wanted)
        else:
            self._assign(value, wanted)
        return self._know(value, wanted)

    def line(self, text: str) -> None:
        """Add a definition as it is."""
        self._definitions.append(text)

    def lacks(self, text: str) -> None:
        """Say, at the end, what could not be copied."""
        self.missing.append(text)

    def import_line(self, text: str) -> None:
        """Add an import."""
        self._imports[text] = None

    def names_in(self, text: str, scope: Callable[[str], Any], own: str = "") -> None:
        """Define what a piece of code uses.

        Args:
            text: the code.
            scope: the value of a name where the code stands; KeyError if it has none.
            own: the name that the code defines.
        """
        for name in _free_names(text):
            if name == own or hasattr(builtins, name):
                continue
            try:
                value = scope(name)
            except KeyError:
                continue
            self.add(value, name)

    # --- kinds -------------------------------------------------------------------------------------------------------
    def _know(self, value: Any, name: str) -> str:
        self._kept.append(value)  # so that no other object gets its id
        self._known[id(value)], self._taken[name] = name, id(value)
        return name

    def _import_from(self, value: Any, name: str) -> None:
        module, own = value.__module__, value.__qualname__
        self._imports[f"from {module} import {own}{'' if own == name else f' as {name}'}"] = None

    def _module(self, module: types.ModuleType, name: str) -> None:
        if is_library_name(module.__name__):
            plain = f"import {module.__name__}"
            parent, _, last = module.__name__.rpartition(".")
            if name == module.__name__:
                self._imports[plain] = None
            elif parent and last == name:
                self._imports[f"from {parent} import {last}"] = None
            else:
                self._imports[f"{plain} as {name}"] = None
            return
        self.whole_module(module, name)

    def whole_module(self, module: types.ModuleType, name: str) -> None:
        """Define a module of the user's by running its whole text."""
        try:
            text = inspect.getsource(module)
        except (OSError, TypeError):
            self.lacks(f"Define the module {module.__name__} here: its text is not known.")
            return
        self._imports["import sys"] = None
        self._imports["import types"] = None
        lines = [
            f"{name} = types.ModuleType({module.__name__!r})",
            f"sys.modules[{module.__name__!r}] = {name}",
            f"exec({text!r}, {name}.__dict__)",
        ]
        self._definitions.append("\n".join(lines))

    def _is_of_package(self, value: Converter, name: str) -> bool:
        """Define a converter that comes with this package, if it is one."""
        target = next((key for key, item in default_registry().converters.items() if item is value), None)
        text = None if target is None else repr(target) if isinstance(target, str) else _literal(target)
        if text is None:
            return False
        self._imports["import torch"] = None
        self._imports["import trt_passes.passes"] = None
        self._imports["from trt_passes.compiler.tensorrt.registry import default_registry"] = None
        self._definitions.append(f"{name} = default_registry().get({text})")
        return True

    def _operator(self, value: CustomOpDef, name: str) -> str:
        """Define an operator that `torch.library.custom_op` made, with what was registered for it."""
        parts = [part for part in (value._init_fn, value._abstract_fn) if part is not None]
        self._know(value, name)
        if not has_text(value._init_fn):
            self._compiled_operator(value, name)
            return name
        for part in parts:
            if inspect.isfunction(part) and id(part) not in self._known:
                self._copy(inspect.unwrap(part), part.__name__)
                self._know(part, part.__name__)
        return name

    def _compiled_operator(self, value: CustomOpDef, name: str) -> None:
        """Define an operator whose text is not known, by the code of its functions."""
        self._compiled(value._init_fn, f"{name}_function")
        schema = value._opoverload._schema
        written = tuple(argument.name for argument in schema.arguments if _is_written(argument))
        self._definitions.append(
            f"{name} = torch.library.custom_op(\n"
            f"    {value._qualname!r}, {name}_function, mutates_args={written!r}, schema={value._schema!r}\n)"
        )
        if value._abstract_fn is not None:
            self._compiled(value._abstract_fn, f"{name}_shapes")
            self._definitions.append(f"{name}.register_fake({name}_shapes)")

    def _copy(self, value: Any, name: str) -> None:
        own = value.__name__
        self._know(value, name)  # before what it needs, which may need it
        try:
            text = textwrap.dedent(inspect.getsource(value))
            ast.parse(text)
        except (OSError, TypeError, SyntaxError, IndentationError):
            self._compiled(value, name)
            return
        self.names_in(text, _scope_of(value), own)
        self._definitions.append(text.rstrip() + ("" if own == name else f"\n\n\n{name} = {own}"))

    def _compiled(self, value: Any, name: str) -> None:
        """Define a function or a class whose text is not known by its code, as Python compiled it."""
        make = class_code if isinstance(value, type) else function_code
        try:
            made = make(value, self.add, _literal)
        except Unknown as reason:
            where = f"{value.__name__}, of {value.__module__},"
            self.lacks(f"Define {where} here: its text is not known, and {reason}.")
            return
        for line in IMPORTS:
            self._imports[line] = None
        if HELP not in self._definitions:
            self._definitions.insert(0, HELP)
        self._definitions.append(f"# The text of {value.__name__} is not known.\n{name} = {made}")

    def _assign(self, value: Any, name: str) -> None:
        literal = _literal(value)
        if literal is not None:
            if "torch" in literal:
                self._imports["import torch"] = None
            if "math." in literal:
                self._imports["import math"] = None
            self._definitions.append(f"{name} = {literal}")
            return
        for module in _modules_with(value, name):
            statement = _assignment(module, name)
            if statement is not None:
                self._know(value, name)
                self.names_in(statement, _in(vars(module)), name)
                self._definitions.append(statement)
                return
        self.lacks(f"Define {name}, a {type(value).__name__}, here: how it is made is not known.")


def has_text(value: Any) -> bool:
    """Whether the text of a function is known, which that of one typed at a prompt is not."""
    try:
        return bool(inspect.getsource(inspect.unwrap(value)))
    except (OSError, TypeError):
        return False


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _scope_of(value: Any) -> Callable[[str], Any]:
    """What names mean in the code of a function or class."""
    if isinstance(value, type):
        members = [item for item in vars(value).values() if inspect.isfunction(inspect.unwrap(_function_of(item)))]
        cells: dict[str, Any] = {}
        for item in members:
            cells |= _closure(inspect.unwrap(_function_of(item)))
        space = vars(sys.modules[value.__module__]) if value.__module__ in sys.modules else {}
        spaces = [_function_of(item).__globals__ for item in members if hasattr(_function_of(item), "__globals__")]
        return _in({**space, **_locals_above(value), **_merged(spaces, value.__module__), **cells})
    return _in({**value.__globals__, **_closure(value)})


def _function_of(item: Any) -> Any:
    return getattr(item, "__func__", getattr(item, "fget", None) or item)


def _merged(spaces: Iterable[Mapping[str, Any]], module: str) -> dict[str, Any]:
    return {name: value for space in spaces if space.get("__name__") == module for name, value in space.items()}


def _locals_above(value: type) -> dict[str, Any]:
    """Its bases by their names, which may be local to the function that made it."""
    return {base.__name__: base for base in value.__mro__[1:] if base is not object}


def _closure(function: Any) -> dict[str, Any]:
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    found = {}
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    return found


def _in(space: Mapping[str, Any]) -> Callable[[str], Any]:
    return space.__getitem__


def _free_names(text: str) -> Iterator[str]:
    """Names that code reads and does not define, in any of its functions."""
    found: dict[str, None] = {}
    waiting = [symtable.symtable(text, "<code>", "exec")]
    while waiting:
        table = waiting.pop(0)
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or (top and not symbol.is_assigned())):
                found[symbol.get_name()] = None
        waiting += table.get_children()
    yield from found


def _literal(value: Any) -> str | None:
    """Code for a plain value; None if there is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        return str(value)
    if isinstance(value, torch.device):
        return f"torch.{value!r}"
    if isinstance(value, torch._ops.OpOverload):
        namespace, _, name = value._schema.name.partition("::")
        return f"torch.ops.{namespace}.{name}.{value._overloadname}"
    if isinstance(value, torch._ops.OpOverloadPacket):
        return f"torch.ops.{str(value).replace('::', '.')}"
    if type(value) in (list, tuple, set, frozenset):
        items = [_literal(item) for item in value]
        if None in items:
            return None
        inner = ", ".join(map(str, items))
        if isinstance(value, frozenset):
            return f"frozenset([{inner}])"
        if isinstance(value, set):
            return f"{{{inner}}}" if items else "set()"
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(items) == 1 else ''})"
    if type(value) is dict:
        pairs = [(_literal(key), _literal(item)) for key, item in value.items()]
        return None if any(None in pair for pair in pairs) else f"{{{', '.join(f'{k}: {v}' for k, v in pairs)}}}"
    return None


def _modules_with(value: Any, name: str) -> Iterator[types.ModuleType]:
    """The user's modules that have a value under a name."""
    for module in list(sys.modules.values()):
        has = isinstance(module, types.ModuleType) and vars(module).get(name) is value
        if has and not is_library_name(module.__name__):
            yield module


def _assignment(module: types.ModuleType, name: str) -> str | None:
    """The statement of a module that assigns a name."""
    try:
        text = inspect.getsource(module)
        body = ast.parse(text).body
    except (OSError, TypeError, SyntaxError):
        return None
    for statement in body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.get_source_segment(text, statement)
    return None


def _is_library(value: Any) -> bool:
    """Whether a function or class can be imported from an installed package."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or "." in name:
        return False
    if not (isinstance(value, type) or callable(value)) or not is_library_name(module):
        return False
    return getattr(sys.modules.get(module), name, None) is value


def is_library_name(name: str) -> bool:
    """Whether a module is installed, so that another process of this machine can import it from anywhere."""
    top = name.partition(".")[0]
    if top in ("__main__", "__mp_main__"):
        return False
    if top in (*sys.stdlib_module_names, "torch", "trt_passes"):
        return True
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    if file is None:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return False
        file = spec.origin if spec is not None else None
    parts = Path(file).parts if file is not None else ()
    return "site-packages" in parts or "dist-packages" in parts


def definitions(values: Iterable[Any]) -> tuple[SourceCode, list[str]]:
    """Code for some functions and classes, and the names that they have in it."""
    code = SourceCode()
    return code, [code.add(value) for value in values]
