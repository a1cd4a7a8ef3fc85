"""Check a `.pt2` archive before PyTorch reads it: PyTorch believes what is in it.

`torch.export.load` unpickles, evaluates the texts of symbolic sizes, calls any function of the torch module that a
node names, imports modules that containers name, and writes names into code. What passes here gives it none of that.
"""

from __future__ import annotations

import enum
import json
import keyword
import re
import sys
from collections.abc import Iterator
from typing import Any

from ...ir.strict_json import strict_json
from .allowed import FUNCTIONS, Allowed, Missing, NotAllowed
from .archive import Archive
from .expression_check import check_expression

PROGRAM, SAMPLE_INPUTS = "models/model.json", "data/sample_inputs/model.pt"
_WEIGHTS, _CONSTANTS = "data/weights/", "data/constants/"
_CONFIGS = (f"{_WEIGHTS}model_weights_config.json", f"{_CONSTANTS}model_constants_config.json")
_PLAIN = re.compile(
    r"models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)|data/sample_inputs/model\.pt|"
    r"data/constants/(tensor_\d+|model_constants_config\.json)|extra/[\w.-]+|"
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|\.format_version|\.storage_alignment"
)
_PAYLOAD = re.compile(r"weight_\d+|tensor_\d+")
_SYMBOL = re.compile(r"[a-z]+\d{1,6}")
_UNSAFE_IN_PATHS = re.compile(r"[\"\\\x00-\x1f\x7f]")
_NAMES = frozenset({"name", "as_name"})
_PATHS = frozenset({"parameter_name", "buffer_name", "tensor_constant_name", "user_input_name", "fqn", "class_fqn"})
_FACTORIES = frozenset({"list", "dict", "int", "float", "bool", "str", "tuple", "set"})


class Pickled(ValueError):
    """An archive holds what can only be read by running code that it names; `member` is where."""

    def __init__(self, member: str) -> None:
        self.member = member
        super().__init__(f"{member} may be pickled objects or code")


def check_archive(archive: Archive, allowed: Allowed) -> None:
    """Check all that PyTorch reads of an archive, apart from sample inputs.

    Raises:
        Pickled: a member is pickled, or is code.
        NotAllowed: the program calls an operator that a file may not call.
        ValueError: a member is damaged; the message says how.
    """
    for name in archive.members:
        if not _PLAIN.fullmatch(name):
            raise Pickled(name)
    for name in _CONFIGS:
        if name in archive.members:
            _check_payloads(archive, name)
    if PROGRAM in archive.members:
        _check_program(_json(archive, PROGRAM), allowed)


def _json(archive: Archive, name: str) -> Any:
    try:
        return strict_json(archive.read(name))
    except ValueError as error:
        raise ValueError(f"{error}, in {name}") from error


# --- weights and constants -------------------------------------------------------------------------------------------
def _check_payloads(archive: Archive, config: str) -> None:
    folder = config.rpartition("/")[0]
    rows = _json(archive, config)
    rows = rows.get("config") if isinstance(rows, dict) else None
    if not isinstance(rows, dict):
        raise ValueError(f"{config} lists nothing")
    for name, row in rows.items():
        if not isinstance(row, dict) or not isinstance(row.get("path_name"), str):
            raise ValueError(f"{name!r} is no tensor, in {config}")
        member = f"{folder}/{row['path_name']}"
        # PyTorch takes what is true in Python for true.
        if row.get("use_pickle") is not False or not _PAYLOAD.fullmatch(row["path_name"]):
            raise Pickled(member)
        _check_path(name)
        if member not in archive.members:
            raise ValueError(f"{member} is missing")
        sizes = [size.get("as_int") if isinstance(size, dict) else None for size in _sizes(row)]
        if not all(type(size) is int and 0 <= size < 2**63 for size in sizes):
            raise ValueError(f"{name!r} has no sizes, in {config}")
        # PyTorch would make a tensor of zeros, of any size.
        if not archive.members[member].file_size and 0 not in sizes:
            raise ValueError(f"{member} is empty")


def _sizes(row: Any) -> list[Any]:
    meta = row.get("tensor_meta")
    sizes = meta.get("sizes") if isinstance(meta, dict) else None
    if not isinstance(sizes, list):
        raise ValueError(f"{row['path_name']} has no sizes")
    return sizes


# --- the program -----------------------------------------------------------------------------------------------------
def _check_program(program: Any, allowed: Allowed) -> None:
    known: set[str] = set()
    for key, value in _fields(program):
        if key in ("target", "as_operator"):
            _check_target(value, allowed)
        elif key == "expr_str":
            if value not in known:
                check_expression(value)
                known.add(value)
        elif key in _NAMES:
            if value not in ("", None):
                _check_name(value)
        elif key in _PATHS:
            if value is not None:
                _check_path(value)
        elif key in ("as_custom_obj", "custom_obj"):
            raise Pickled(PROGRAM)
        elif key in ("forward_arg_names", "as_string_to_argument"):
            for name in value or ():
                _check_name(name)
        elif key in ("in_spec", "out_spec"):
            _check_tree(value)
        elif key == "range_constraints":
            _check_ranges(value)


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """All fields of all objects in a JSON value."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _check_name(name: Any) -> None:
    """Names become names in code. Those of an operator's arguments may be keywords; PyTorch never writes them down."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"{name!r} is no name")


def _check_path(path: Any) -> None:
    """Names of modules and weights become texts in code, in double quotes and without escapes."""
    if not isinstance(path, str) or _UNSAFE_IN_PATHS.search(path):
        raise ValueError(f"{path!r} is no name of a module or weight")


def _check_ranges(ranges: Any) -> None:
    for symbol in ranges if isinstance(ranges, dict) else ():
        # PyTorch counts up to the number of a symbol.
        if not _SYMBOL.fullmatch(symbol):
            raise ValueError(f"{symbol!r} is no symbol")


def _check_target(target: Any, allowed: Allowed) -> None:
    if not isinstance(target, str):
        raise ValueError(f"{target!r} is no operator")
    parts = target.split(".")
    try:
        if parts[:2] == ["torch", "ops"] and len(parts) == 5:
            allowed.operator(*parts[2:])
        elif parts[:3] == ["torch", "ops", "higher_order"] and len(parts) == 4:
            allowed.higher_order(parts[3])
        elif target.removeprefix("_") not in FUNCTIONS:
            raise NotAllowed(target)
    except Missing:
        return  # PyTorch says which


# --- containers of arguments and results -----------------------------------------------------------------------------
def _check_tree(text: Any) -> None:
    if text is None:
        return
    if not isinstance(text, str):
        raise ValueError("a container is no text")
    tree = strict_json(text)
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, str) and item[:1] in ("{", "["):
            waiting.append(_context(item))
        elif isinstance(item, dict):
            _check_imports(item)
            waiting.extend(item.values())
    _check_keywords(tree)


def _context(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None  # a key that only looks so; PyTorch refuses it where it stands for more


def _check_imports(item: dict[str, Any]) -> None:
    """PyTorch imports the modules that defaultdicts and keys of an Enum name."""
    makes_values = "default_factory_module" in item or "default_factory_name" in item
    builtin = item.get("default_factory_module") == "builtins" and item.get("default_factory_name") in _FACTORIES
    if makes_values and not builtin:
        raise ValueError(f"{item} makes no values of a defaultdict")
    if "__enum__" in item:
        module, _, path = str(item.get("fqn")).partition(":")
        found: Any = sys.modules.get(module)
        for part in path.split("."):
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
        if not (isinstance(found, type) and issubclass(found, enum.Enum)):
            raise ValueError(f"{item.get('fqn')!r} is no Enum of this process: import its module")


def _check_keywords(tree: Any) -> None:
    """Names of keyword arguments become names in code: the second child of the specification of arguments."""
    spec = tree[1] if isinstance(tree, list) and len(tree) == 2 else None
    children = spec.get("children_spec") if isinstance(spec, dict) else None
    for child in children if isinstance(children, list) else ():
        if not isinstance(child, dict):
            raise ValueError("a container is none")
    if not children or len(children) != 2 or spec.get("type") != "builtins.tuple":  # type: ignore[union-attr]
        return
    if children[0].get("type") == "builtins.tuple" and children[1].get("type") == "builtins.dict":
        for name in _context(str(children[1].get("context"))) or ():
            if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
                raise ValueError(f"{name!r} is no name of an argument")
