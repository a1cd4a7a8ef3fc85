"""`Tuning`: what variants of operators took on a GPU, and which of them is to be taken."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.fx import Node

from ..errors import UserError
from .dtypes import short_name
from .strict_json import strict_json
from .symbols import example_size
from .text import argument_text, op_name

SCHEMA = 1
"""Version of the layout of `tuning.json`."""

KIND = "trt-passes tuning"

PYTORCH = "pytorch"
"""The variant that every operator has: PyTorch's own kernel."""

ALIKE = 1.1
"""Errors that differ by less count as equal."""


@dataclass(frozen=True)
class Measured:
    """A variant on a GPU: microseconds, and the relative L2 error against float64, if it was measured."""

    us: float
    error: float | None = None


@dataclass(frozen=True)
class Tuning:
    """What was measured on one GPU; what was not measured keeps its default.

    Attributes:
        gpu: its name.
        versions: of the libraries.
        patterns: an operator with the types and sizes of its arguments, as `pattern_of` writes it, and what its
            variants took, by name.
        border_us: what it costs to leave an engine for PyTorch and come back.
        name: of the file, for messages.
    """

    gpu: str
    versions: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, Mapping[str, Measured]] = field(default_factory=dict)
    border_us: float = 5.0
    name: str = "tuning.json"

    def best(
        self, pattern: str, possible: Collection[str], preset: str | None = None, max_error: float | None = None
    ) -> str | None:
        """The variant to take for a pattern; None if fewer than two of the possible ones were measured.

        Args:
            pattern: see `pattern_of`.
            possible: names of variants that the call can be computed by; PyTorch's is always one.
            preset: "fast" takes the fastest, "exact" the most exact. None takes the fastest of those whose error is at
                most twice that of PyTorch.
            max_error: leaves only variants whose error is at most this, or the most exact one.
        """
        known = {
            name: item for name, item in self.patterns.get(pattern, {}).items() if name in possible or name == PYTORCH
        }
        if len(known) < 2:
            return None
        limit = float("inf") if max_error is None else max_error
        own = known[PYTORCH].error if PYTORCH in known else None
        if preset is None and own is not None:
            limit = min(limit, 2 * own)
        errors = {name: item.error or 0.0 for name, item in known.items()}
        allowed = [name for name in known if errors[name] <= limit]
        if preset == "exact" or not allowed:
            least = min(errors[name] for name in (allowed or known))
            allowed = [name for name in (allowed or known) if errors[name] <= least * ALIKE]
        return min(allowed, key=lambda name: (self._cost(name, known[name]), name))

    def _cost(self, name: str, item: Measured) -> float:
        return item.us + (self.border_us if name == PYTORCH else 0.0)

    def why_pytorch(self, pattern: str, possible: Collection[str]) -> str:
        """The sentence for an operator that stays in PyTorch."""
        known = self.patterns[pattern]
        name = min((item for item in known if item in possible), key=lambda item: known[item].us)
        ours, theirs = known[name], known[PYTORCH]
        text = f"TensorRT takes {_us_text(ours.us)} here, PyTorch {_us_text(theirs.us)} ({self.name})"
        if ours.error is not None and theirs.error is not None and ours.us <= theirs.us + self.border_us:
            text += f", with errors of {ours.error:.1e} and {theirs.error:.1e}"
        return f"{text}."

    # --- files -----------------------------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """The object that `tuning.json` holds."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "gpu": self.gpu,
            "versions": dict(self.versions),
            "border_us": self.border_us,
            "patterns": {
                pattern: {
                    name: {"us": round(item.us, 3)} | ({} if item.error is None else {"error": item.error})
                    for name, item in variants.items()
                }
                for pattern, variants in sorted(self.patterns.items())
            },
        }

    @classmethod
    def from_json(cls, data: Any, name: str = "tuning.json") -> Tuning:
        """The tuning that `to_json` wrote.

        Raises:
            UserError: it is something else, or of a newer release; with the place in it that is wrong.
        """
        try:
            if not isinstance(data, dict) or data.get("kind") != KIND:
                raise ValueError(f"its kind is not {KIND!r}")
            if not isinstance(data["schema"], int) or data["schema"] > SCHEMA:
                raise UserError(
                    f"{name} has schema {data['schema']}, and this release of trt-passes reads up to {SCHEMA}: upgrade."
                )
            patterns = {
                str(pattern): {str(variant): _measured(pattern, variant, row) for variant, row in rows.items()}
                for pattern, rows in data["patterns"].items()
            }
            versions = {str(key): str(value) for key, value in data.get("versions", {}).items()}
            return cls(str(data["gpu"]), versions, patterns, float(data.get("border_us", 5.0)), name)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{name} is no tuning file of trt-passes ({error}): give what `tp.tune` wrote.") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `tuning.json`."""
        text = f"{json.dumps(self.to_json(), indent=1, ensure_ascii=False)}\n"
        temporary = Path(f"{os.fspath(path)}.writing")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise UserError(f"cannot write {os.fspath(path)}: {error.strerror or error}.") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tuning:
        """Read what `save` wrote; UserError if it is something else."""
        name = Path(path).name
        try:
            return cls.from_json(strict_json(Path(path).read_text(encoding="utf-8")), name)
        except OSError as error:
            raise UserError(f"cannot read {os.fspath(path)}: {error.strerror or error}.") from error
        except ValueError as error:
            raise UserError(f"{name} is no tuning file of trt-passes ({error}): give what `tp.tune` wrote.") from error


def _measured(pattern: str, variant: str, row: Any) -> Measured:
    us, error = row["us"], row.get("error")
    for value in (us, error):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
            raise ValueError(f"{variant} of {pattern} has {value!r} for a number")
    return Measured(float(us), None if error is None else float(error))


def _us_text(us: float) -> str:
    return f"{us / 1000:.2f} ms"


def pattern_of(node: Node, constants: Collection[str] = ()) -> str:
    """An operator with the types and sizes of its arguments, the same for calls that do the same work.

    Such as "aten.linear(f16[4,64,256], const f16[1024,256], None)". Sizes are the usual ones.
    """

    def text(argument: Any) -> str:
        if isinstance(argument, Node):
            value = argument.meta.get("val")
            if isinstance(value, torch.Tensor):
                known = "const " if argument.name in constants else ""
                return f"{known}{short_name(value.dtype)}[{','.join(str(_size(item)) for item in value.shape)}]"
            return str(_size(value))
        if isinstance(argument, list | tuple):
            return f"[{', '.join(map(text, argument))}]"
        return argument_text(argument)

    named = [f"{name}={text(argument)}" for name, argument in node.kwargs.items()]
    return f"{op_name(node.target)}({', '.join([*map(text, node.args), *named])})"


def _size(size: Any) -> Any:
    known = example_size(size)
    return "?" if known is None else known
