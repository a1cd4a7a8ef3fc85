"""The page for users of Torch-TensorRT: its options and names, from the tables and modules that accept them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

from trt_passes.compiler.compat.options import FOREIGN_OPTIONS, SHARED_OPTIONS
from trt_passes.compiler.settings import ALIASES

from .markdown import table

MODULES = (
    *("", "dynamo", "dynamo.runtime", "dynamo.conversion", "dynamo.conversion.plugins", "dynamo.lowering"),
    *("dynamo.lowering.passes", "dynamo.partitioning", "dynamo.utils", "runtime", "ts", "ts.ptq", "fx", "logging"),
)
"""Modules whose names users have in their code, below `torch_tensorrt`."""


def torch_tensorrt_blocks() -> dict[str, str]:
    """The blocks of the page."""
    return {"torch-tensorrt-options": _options(), "torch-tensorrt-names": _names()}


def _options() -> str:
    rows = []
    for name, remark in SHARED_OPTIONS.items():
        rows.append((f"`{name}`", f"`{ALIASES.get(name, name)}`", remark))
    for name, option in FOREIGN_OPTIONS.items():
        other = f"another value is {'an error' if option.refused else 'a warning'}"
        if option.granted == ".*":
            other = "any value does"
        rows.append((f"`{name}`", f"`{option.here}`" if option.here else "—", f"{option.advice}; {other}"))
    return table(("Torch-TensorRT", "here", "remark"), rows)


def _names() -> str:
    return table(("name", "what it is here"), list(_rows()))


def _rows() -> Iterator[tuple[str, str]]:
    for part in MODULES:
        module = importlib.import_module(f"trt_passes.torch_tensorrt{f'.{part}' if part else ''}")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.ismodule(value) or not (value.__doc__ if callable(value) else ""):
                continue
            yield f"`{f'{part}.{name}' if part else name}`", _first_sentence(str(value.__doc__))


def _first_sentence(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split()).replace("|", "\\|")
