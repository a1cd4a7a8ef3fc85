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
from .operators import DEQUANTIZERS
from .strict_json import strict_json
from .symbols import example_size
from .text import argument_text, op_name

SCHEMA = 1
"""Version of the layout of `tuning.json`."""

KIND = "trt-passes tuning"

PYTORCH = "pytorch"
"""The variant that every operator has: PyTorch's own kernel."""

ONE_WAY = "tensorrt"
"""What the way of an operator that has no variants is called in a tuning."""

ALIKE = 1.1
"""Errors that differ by less count as equal."""


BORDER_US, LAUNCH_US, BANDWIDTH = 5.0, 2.0, 2e12
"""What a file holds that does not say them: about those of a large GPU under CUDA graphs."""

TOO_DEAR = 1e9
"""The `border_us` from which on nothing leaves an engine for being faster in PyTorch."""


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
        border_us: what it costs to leave an engine for PyTorch and come back; see `TOO_DEAR`.
        launch_us: what a kernel of PyTorch takes at least.
        bandwidth: bytes per second that the GPU reads and writes.
        name: of the file, for messages.
    """

    gpu: str
    versions: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, Mapping[str, Measured]] = field(default_factory=dict)
    border_us: float = BORDER_US
    launch_us: float = LAUNCH_US
    bandwidth: float = BANDWIDTH
    name: str = "tuning.json"

    def allowed(
        self, pattern: str, possible: Collection[str], preset: str | None = None, max_error: float | None = None
    ) -> dict[str, Measured]:
        """The variants of a pattern that are exact enough; empty if fewer than two of the possible ones were measured.

        Args:
            pattern: see `pattern_of`.
            possible: names of variants that the call can be computed by; PyTorch's is always one.
            preset: "fast" allows all, "exact" the most exact. None allows those whose error is at most twice that of
                PyTorch, or the most exact one.
            max_error: leaves only variants whose error is at most this, or the most exact one.
        """
        known = {
            name: item for name, item in self.patterns.get(pattern, {}).items() if name in possible or name == PYTORCH
        }
        if len(known) < 2:
            return {}
        limit = float("inf") if max_error is None else max_error
        own = known[PYTORCH].error if PYTORCH in known else None
        if preset is None and own is not None:
            limit = min(limit, 2 * own)
        errors = {name: item.error or 0.0 for name, item in known.items()}
        names = [name for name in known if errors[name] <= limit]
        if preset == "exact" or not names:
            least = min(errors[name] for name in (names or known))
            names = [name for name in (names or known) if errors[name] <= least * ALIKE]
        return {name: known[name] for name in names}

    def best(
        self, pattern: str, possible: Collection[str], preset: str | None = None, max_error: float | None = None
    ) -> str | None:
        """The fastest of TensorRT's variants that are `allowed`; PyTorch's if no other is; None if nothing is known."""
        allowed = self.allowed(pattern, possible, preset, max_error)
        ours = [name for name in allowed if name != PYTORCH] or list(allowed)
        return min(ours, key=lambda name: (allowed[name].us, name), default=None)

    def why_more_exact(self, pattern: str, possible: Collection[str]) -> str:
        """The sentence for an operator that stays in PyTorch since no variant of TensorRT is exact enough."""
        known = self.patterns[pattern]
        name = min((item for item in known if item in possible), key=lambda item: known[item].error or 0.0)
        ours, theirs = known[name], known[PYTORCH]
        return (
            f"TensorRT's error is at least {ours.error or 0.0:.1e} here, PyTorch's {theirs.error or 0.0:.1e}, in "
            f"{us_text(ours.us)} and {us_text(theirs.us)} ({self.name})."
        )

    # --- files -----------------------------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """The object that `tuning.json` holds."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "gpu": self.gpu,
            "versions": dict(self.versions),
            "border_us": round(self.border_us, 3),
            "launch_us": round(self.launch_us, 3),
            "bandwidth": self.bandwidth,
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
            border, launch, bandwidth = (
                _number(key, data.get(key, usual))
                for key, usual in (("border_us", BORDER_US), ("launch_us", LAUNCH_US), ("bandwidth", BANDWIDTH))
            )
            return cls(str(data["gpu"]), versions, patterns, border, launch, bandwidth, name)
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


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"{key} is {value!r}")
    if key == "bandwidth" and not value:
        raise ValueError("bandwidth is 0")
    return float(value)


def _measured(pattern: str, variant: str, row: Any) -> Measured:
    us, error = row["us"], row.get("error")
    for value in (us, error):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
            raise ValueError(f"{variant} of {pattern} has {value!r} for a number")
    return Measured(float(us), None if error is None else float(error))


def us_text(us: float) -> str:
    """A time for a message, such as "1.10 ms" or "4.2 us"."""
    return f"{us / 1000:.2f} ms" if us >= 100 else f"{us:.1f} us"


def pattern_of(node: Node, constants: Collection[str] = ()) -> str:
    """An operator with the types and sizes of its arguments, the same for calls that do the same work.

    Such as "aten.linear(f16[4,64,256], const f16[1024,256], None)". Sizes are the usual ones. Of what is dequantised,
    what reads it is a part: "trt_passes.dequantize(const i8[64,256], …) for aten.mm(…)".
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
    own = f"{op_name(node.target)}({', '.join([*map(text, node.args), *named])})"
    if node.target not in DEQUANTIZERS:
        return own
    return " for ".join([own, *sorted({pattern_of(user, constants) for user in node.users if _is_call(user)})])


def _is_call(node: Node) -> bool:
    return node.op == "call_function" and node.target not in DEQUANTIZERS


def _size(size: Any) -> Any:
    known = example_size(size)
    return "?" if known is None else known
