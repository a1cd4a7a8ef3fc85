"""What an engine expects and returns, as JSON-able data, and the engine with the record of its build."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..errors import UserError
from .dtypes import from_short_name, short_name
from .input import Profile
from .lean_plan import lean, whole, whole_size
from .strict_json import strict_json

SCHEMA = 2
"""Version of the JSON form of an `EngineSpec` with several profiles, or aliases, which earlier releases know not."""

_FIRST = 1
"""Version of one without."""

Dim = int | str
"""A size: a number, or sympy text over the program's symbols, such as "s0" or "2*s0 + 1"."""


@dataclass(frozen=True)
class Binding:
    """One tensor that crosses the border of an engine.

    `shape` holds numbers, and sympy text for symbolic sizes. `min_shape`, `opt_shape` and `max_shape` are the sizes at
    the corners of the optimization profile; all three equal `shape` when it is static. If there are several profiles,
    `profiles` has the corners in each of them, and the others are those of what holds all of them. The dtype is the one
    that the engine reads or writes, so never float64. `alias` is, of an output, the input in whose memory it is: the
    engine writes there, and what was in it is gone.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[Dim, ...]
    min_shape: tuple[int, ...]
    opt_shape: tuple[int, ...]
    max_shape: tuple[int, ...]
    profiles: tuple[Profile, ...] = ()
    alias: str | None = None

    def __post_init__(self) -> None:
        ranks = {len(self.shape), len(self.min_shape), len(self.opt_shape), len(self.max_shape)}
        ranks |= {len(shape) for profile in self.profiles for shape in profile}
        if len(ranks) != 1:
            raise ValueError(f"binding {self.name!r} has shapes of different ranks: {self}")

    @classmethod
    def static(cls, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Binding:
        """A binding whose sizes are all known."""
        return cls(name, dtype, shape, shape, shape, shape)

    @property
    def is_dynamic(self) -> bool:
        """Whether a size is symbolic."""
        return any(not isinstance(size, int) for size in self.shape)

    def to_json(self) -> dict[str, Any]:
        """The JSON object that `from_json` reads; the profile is left out where it says nothing."""
        row: dict[str, Any] = {"name": self.name, "dtype": short_name(self.dtype), "shape": list(self.shape)}
        if self.is_dynamic:
            row |= {"min": list(self.min_shape), "opt": list(self.opt_shape), "max": list(self.max_shape)}
        if self.alias is not None:
            row["alias"] = self.alias
        if self.profiles:
            row["profiles"] = [[list(shape) for shape in profile] for profile in self.profiles]
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Binding:
        """The binding that `to_json` wrote.

        Raises:
            ValueError: a field has another type, or a size is negative (KeyError where a field is missing).
        """
        shape = tuple(_list_of(row["shape"], int | str))
        alias = None if row.get("alias") is None else _text(row["alias"])
        name, dtype = _text(row["name"]), from_short_name(row["dtype"])
        if all(isinstance(size, int) for size in shape):
            sizes = tuple(_list_of(row["shape"], int))
            return cls(name, dtype, sizes, sizes, sizes, sizes, alias=alias)
        low, usual, high = (tuple(_list_of(row[key], int)) for key in ("min", "opt", "max"))
        profiles = tuple(_profile(item) for item in _list_of(row.get("profiles", []), list))
        return cls(name, dtype, shape, low, usual, high, profiles, alias)


@dataclass(frozen=True)
class EngineSpec:
    """What must be known to run an engine, without the engine.

    `flavor` and `version` name the TensorRT that built it: no other can run it. `compute_capabilities` are the GPU
    generations it was built for, such as "8.9"; empty means portable (TensorRT-RTX), or that of the build machine.
    """

    name: str
    flavor: str
    version: str
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    compute_capabilities: tuple[str, ...] = ()
    tf32: bool = True

    @property
    def profiles(self) -> int:
        """How many optimization profiles the engine has; one that takes fixed sizes only has one."""
        # A list, since torch.export traces this in compiled modules, and knows no `default` of generators.
        return max([1, *[len(binding.profiles) for binding in self.inputs]])

    @property
    def aliases(self) -> dict[int, int]:
        """The outputs that are in the memory of an input, by number, with the number of that."""
        numbers = {binding.name: number for number, binding in enumerate(self.inputs)}
        return {i: numbers[item.alias] for i, item in enumerate(self.outputs) if item.alias is not None}

    def to_json(self) -> dict[str, Any]:
        """The JSON object that `from_json` reads."""
        return {
            "schema": _FIRST if self.profiles == 1 and not self.aliases else SCHEMA,
            "name": self.name,
            "flavor": self.flavor,
            "version": self.version,
            "inputs": [binding.to_json() for binding in self.inputs],
            "outputs": [binding.to_json() for binding in self.outputs],
            "compute_capabilities": list(self.compute_capabilities),
            "tf32": self.tf32,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EngineSpec:
        """The specification that `to_json` wrote.

        Raises:
            UserError: it was written by a newer release, or is no engine specification.
        """
        try:
            if not isinstance(data["schema"], int):
                raise ValueError("the schema is no number")
            if data["schema"] > SCHEMA:
                raise UserError(
                    f"the engine was saved with schema {data['schema']}, but this release of trt-passes reads up to "
                    f"{SCHEMA}: upgrade trt-passes."
                )
            inputs = tuple(Binding.from_json(row) for row in _list_of(data["inputs"], dict))
            if len({len(binding.profiles) for binding in inputs if binding.is_dynamic}) > 1:
                raise ValueError("inputs have different numbers of profiles")
            outputs = tuple(Binding.from_json(row) for row in _list_of(data["outputs"], dict))
            shared = [binding.alias for binding in outputs if binding.alias is not None]
            sides = {binding.name: (binding.dtype, binding.shape) for binding in inputs}
            if len(set(shared)) < len(shared) or any(
                item.alias is not None and sides.get(item.alias) != (item.dtype, item.shape) for item in outputs
            ):
                raise ValueError("an output is in the memory of no input, or of one that differs or has another")
            return cls(
                name=_text(data["name"]),
                flavor=_text(data["flavor"]),
                version=_text(data["version"]),
                inputs=inputs,
                outputs=outputs,
                compute_capabilities=tuple(_list_of(data["compute_capabilities"], str)),
                tf32=bool(data["tf32"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"this is not an engine specification of trt-passes ({error!r}): compile again.") from error

    def dumps(self) -> str:
        """The specification as one line of JSON text, the same for equal specifications."""
        return json.dumps(self.to_json(), separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> EngineSpec:
        """The specification that `dumps` wrote; UserError if the text is something else."""
        try:
            data = strict_json(text)
        except ValueError as error:
            raise UserError(f"this is not an engine specification of trt-passes ({error}): compile again.") from error
        if not isinstance(data, dict):
            raise UserError("this is not an engine specification of trt-passes (no JSON object): compile again.")
        return cls.from_json(data)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{value!r} is no name")
    return value


def _profile(row: list[Any]) -> Profile:
    low, usual, high = (tuple(_list_of(shape, int)) for shape in row)
    return low, usual, high


def _list_of(values: Any, kind: Any) -> list[Any]:
    """A list of a file, with what it must hold; numbers are sizes."""
    if not isinstance(values, list) or not all(isinstance(item, kind) for item in values):
        raise ValueError(f"{values!r} is no such list")
    if any(isinstance(item, bool) or (isinstance(item, int) and item < 0) for item in values):
        raise ValueError(f"{values!r} has what is no size")
    return values


class SerializedEngine(bytes):
    """The bytes of an engine, as TensorRT deserializes them, with what must be known to run it.

    Attributes:
        spec: the specification.
        arguments, results: names of its bindings, in the order in which the model takes and returns them.
    """

    spec: EngineSpec
    arguments: tuple[str, ...]
    results: tuple[str, ...]

    @classmethod
    def of(
        cls, data: bytes | memoryview, spec: EngineSpec, arguments: Sequence[str], results: Sequence[str]
    ) -> SerializedEngine:
        """Bytes with their specification."""
        engine = cls(data)
        engine.spec, engine.arguments, engine.results = spec, tuple(arguments), tuple(results)
        return engine


@dataclass(frozen=True)
class EngineArtifact:
    """A serialized engine and the record of its build.

    `plan` is a buffer of bytes, not to be written to: TensorRT's own memory, without a copy, or what `lean_plan.lean`
    left of it, with the `weights` that it was built with. `log` is TensorRT's whole log. `layers` has a dict per fused
    kernel: "name", "type", "nodes" (the FX nodes in it), "inputs" and "outputs" (such as "x f32[2,3] row-major"), and
    "tactic" where there is one. `cached` tells whether it came from an engine cache; None if none was asked.
    """

    plan: bytes | bytearray | memoryview = field(repr=False, compare=False)
    spec: EngineSpec
    build_seconds: float = field(compare=False)
    log: str = field(default="", repr=False, compare=False)
    layers: tuple[dict[str, Any], ...] = field(default=(), repr=False, compare=False)
    cached: bool | None = field(default=None, compare=False)
    weights: tuple[torch.Tensor, ...] = field(default=(), repr=False, compare=False)

    @property
    def nbytes(self) -> int:
        """Size of the serialized engine."""
        return whole_size(self.plan)

    @property
    def whole_plan(self) -> memoryview:
        """The serialized engine, as TensorRT made it.

        Raises:
            WeightsChanged: weights were written to since it was built.
        """
        return whole(self.plan, self.weights).data

    def without(self, weights: Sequence[torch.Tensor]) -> EngineArtifact:
        """The same engine, which has no copy of these weights, that it was built with."""
        rest = lean(self.plan, weights)
        return self if rest is None else replace(self, plan=rest, weights=tuple(weights))
