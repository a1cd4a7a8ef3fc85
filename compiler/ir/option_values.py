"""What users give for options, as what the settings hold: texts of the command line as well as values in Python.

Every function takes the name of the option, for messages, and the value, and raises UserError where that is none.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

from ..errors import UserError, did_you_mean

if TYPE_CHECKING:  # `trt-passes run --help` lists the options without waiting for PyTorch
    import torch

    from .check import Check
    from .tuning import Tuning

Normalize = Callable[[str, Any], Any]

_PRECISIONS = MappingProxyType(
    {
        "float32": "float32",
        "fp32": "float32",
        "f32": "float32",
        "float16": "float16",
        "half": "float16",
        "fp16": "float16",
        "f16": "float16",
        "bfloat16": "bfloat16",
        "bf16": "bfloat16",
    }
)
"""Words for precisions, and their names in PyTorch."""


def optional(normalize: Normalize) -> Normalize:
    """None where nothing is given, or none, else what another function makes of it."""
    return lambda name, value: None if value in (None, "none", "") else normalize(name, value)


def whole_number(low: int, high: int | None = None) -> Normalize:
    """A whole number between two limits, or of at least one."""
    return lambda name, value: _whole_number(name, value, low, high)


def _whole_number(name: str, value: Any, low: int, high: int | None) -> int:
    try:
        number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise UserError(f"option {name!r} is {value!r}: give a whole number {limits}.")
    return number


def seconds(name: str, value: Any) -> float:
    """A number of seconds; 0 for no limit."""
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UserError(f"option {name!r} is {value!r}: give a number of seconds, or 0 for no limit.")
    return number


def boolean(name: str, value: Any) -> bool:
    """True or false, or a word for it."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise UserError(f"option {name!r} is {value!r}: give true or false.")


def _items(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [item.strip() for item in value.strip("{}[]()").split(",") if item.strip()]
    return list(value) if isinstance(value, Iterable) else [value]


def names(name: str, value: Any) -> frozenset[str]:
    """Names of operators or modules, which may be given as such."""
    import torch

    from .text import op_name

    def text_of(item: Any) -> str:
        if isinstance(item, str):
            return item.removeprefix("torch.ops.").replace("::", ".")
        if isinstance(item, torch._ops.OpOverload):
            return op_name(item)
        if isinstance(item, torch._ops.OpOverloadPacket):
            return str(item).replace("::", ".")
        if isinstance(item, type) and issubclass(item, torch.nn.Module):
            return item.__name__
        raise UserError(f"option {name!r} contains {item!r}: give names, or operators such as torch.ops.aten.sort.")

    return frozenset(text_of(item) for item in _items(value))


def plugins(name: str, value: Any) -> tuple[Any, ...]:
    """Converters and decompositions, also those that modules have which are given by name; families taken apart."""
    found: list[Any] = []
    for item in [] if value is None else _items(value):
        if isinstance(item, str):
            item = _module(name, item)
        if isinstance(item, types.ModuleType):
            of_module = [entry for entry in vars(item).values() if _is_plugin(entry)]
            if not of_module:
                raise UserError(f"option {name!r} names the module {item.__name__}, which has no converters.")
            found += of_module
        elif _is_plugin(item):
            found.append(item)
        else:
            raise UserError(
                f"option {name!r} contains a {type(item).__name__}: give what tp.converter or tp.decomposition made, "
                "or the name of a module that has such."
            )
    apart = [part for item in found for part in getattr(item, "converters", (item,))]
    return tuple(dict.fromkeys(apart))


def _is_plugin(item: Any) -> bool:
    return bool(getattr(item, "is_plugin", False)) and not isinstance(item, type)


def _module(name: str, text: str) -> types.ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: modules beside the working folder
    try:
        return importlib.import_module(text)
    except ModuleNotFoundError as error:
        if error.name is not None and (text == error.name or text.startswith(f"{error.name}.")):
            file = " Give the name of a module, and not that of its file." if text.endswith(".py") else ""
            raise UserError(f"option {name!r} names the module {text!r}, which is not there.{file}") from None
        raise
    except Exception as error:
        raise UserError(f"option {name!r} names the module {text!r}, which cannot be imported: {error!r}.") from error


def store(name: str, value: Any) -> Any:
    """An object that keeps engines."""
    missing = [
        method for method in ("save", "load") if value is not None and not callable(getattr(value, method, None))
    ]
    if missing:
        raise UserError(
            f"option {name!r} is a {type(value).__name__} without {missing[0]}: give an object that has it."
        )
    return value


def patterns(name: str, value: Any) -> frozenset[str]:
    """Names of weights and patterns of such; true for all."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if value is None or value == "" or (isinstance(value, str) and value.lower() in words):
        value = bool(value) and words[value.lower()]
    if isinstance(value, bool):
        return frozenset({"*"} if value else ())
    items = _items(value)
    if not all(isinstance(item, str) and item for item in items):
        raise UserError(f"option {name!r} is {value!r}: give true, or names of weights and patterns of such.")
    return frozenset(items)


def precisions(name: str, value: Any) -> frozenset[torch.dtype]:
    """Floating-point types; not both halves."""
    import torch

    dtypes: dict[str, torch.dtype] = {text: getattr(torch, full) for text, full in _PRECISIONS.items()}
    found = set()
    for item in _items(value):
        dtype = dtypes.get(item.removeprefix("torch.")) if isinstance(item, str) else item
        if dtype not in set(dtypes.values()):
            raise UserError(f"option {name!r} contains {item!r}: give float32, float16 or bfloat16.")
        found.add(dtype)
    if {torch.float16, torch.bfloat16} <= found:
        raise UserError(f"option {name!r} names both float16 and bfloat16: give one of them.")
    return frozenset(found or {torch.float32})


def capabilities(name: str, value: Any) -> tuple[str, ...]:
    """Compute capabilities, in order."""
    texts = [f"{item[0]}.{item[1]}" if isinstance(item, tuple) else str(item) for item in _items(value)]
    for text in texts:
        major, separator, minor = text.partition(".")
        if not (separator and major.isdigit() and minor.isdigit()):
            raise UserError(f"option {name!r} contains {text!r}: give compute capabilities such as 8.6 or 12.0.")
    return tuple(sorted(set(texts), key=lambda text: tuple(int(part) for part in text.split("."))))


def one_of(kind: Any) -> Normalize:
    """One of the words of a `Literal`."""

    def normalize(name: str, value: Any) -> str:
        if value not in get_args(kind):
            raise UserError(f"option {name!r} is {value!r}.{did_you_mean(str(value), get_args(kind))}")
        return str(value)

    return normalize


byte_count = optional(whole_number(0))
"""Bytes, or None."""


def check(name: str, value: Any) -> Check | None:
    """What compiled and original model are compared by."""
    if value is None or (isinstance(value, str) and value in ("none", "")):
        return None
    from .check import Check

    return Check.of(name, boolean(name, value) if isinstance(value, str) else value)


def batches(name: str, value: Any) -> Any:
    """Batches of the model's inputs, which are read when they are needed; what can be read once only is read now."""
    if value is None or (isinstance(value, str) and value in ("none", "")):
        return None
    if isinstance(value, str | Mapping) or hasattr(value, "untyped_storage") or not isinstance(value, Iterable):
        raise UserError(f"option {name!r} is a {type(value).__name__}: give a list of batches, or a DataLoader.")
    return list(value) if isinstance(value, Iterator) else value


def tuning(name: str, value: Any) -> Tuning | None:
    """What was measured of variants, read from its file."""
    if value is None or (isinstance(value, str) and value in ("none", "")):
        return None
    from .tuning import Tuning

    if isinstance(value, Tuning):
        return value
    place = path(name, value)
    return None if place is None else Tuning.load(place)


def tolerance(name: str, value: Any) -> float | None:
    """A number above 0, or None."""
    if value in (None, "none", ""):
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise UserError(f"option {name!r} is {value!r}: give a number above 0, such as 1e-2.")
    return number


def path(name: str, value: Any) -> str | None:
    """A path, of which ~ is the home folder."""
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise UserError(f"option {name!r} is {value!r}: give a path.")
    return os.path.expanduser(os.fsdecode(value))
