"""A model as the command line loaded it, with example inputs that `--input` can replace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch.export import ExportedProgram

from ..errors import UserError, did_you_mean
from ..ir.dtypes import short_name
from ..ir.input import Input
from .choice import argument_types
from .parameter_names import parameter_names, parameters
from .profiles import with_profiles


@dataclass(frozen=True)
class LoadedModel:
    """A model and its example inputs.

    Attributes:
        name: what the user asked for.
        module: the model.
        args: example positional inputs: tensors, `Input`s, or other values that `forward` takes. Empty for an
            `ExportedProgram`, which has its own, and for a model that came without inputs.
        kwargs: the same for keyword inputs.
    """

    name: str
    module: torch.nn.Module | ExportedProgram
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_inputs(self) -> bool:
        """Whether the model can be traced without being told its inputs."""
        return bool(self.args or self.kwargs or isinstance(self.module, ExportedProgram))

    def with_inputs(self, specs: Sequence[str]) -> LoadedModel:
        """The model with inputs that `Input.parse` reads from `specs`.

        A spec with a name replaces the example of that name and leaves the others; specs without names replace all
        tensors, in order. A spec that names no dtype takes it from the example that it replaces.

        Raises:
            UserError: a spec that cannot be read, an unknown name, or another number of inputs than the model takes.
        """
        if not specs:
            return self
        if not (self.args or self.kwargs):
            return self._with_first_inputs(specs)
        names = parameter_names(self.module, len(self.args))
        slots: dict[str, Any] = {**dict(zip(names, self.args, strict=True)), **self.kwargs}
        tensors = [name for name, value in slots.items() if isinstance(value, torch.Tensor | Input)]
        unnamed = [spec for spec in specs if "=" not in spec]
        if unnamed and len(specs) != len(tensors):
            raise UserError(self._wrong_count(len(specs), tensors))
        positions = iter(tensors)
        chosen: dict[str, Input] = {}
        for spec in specs:
            name = spec.partition("=")[0].strip() if "=" in spec else next(positions)
            self._check_name(name, spec, tensors, chosen)
            chosen[name] = Input.parse(_with_dtype(spec, slots[name]))
        slots.update(chosen)
        kwargs = {name: slots[name] for name in self.kwargs}
        return replace(self, args=tuple(slots[name] for name in names), kwargs=kwargs)

    def profile(self, text: str) -> dict[str, str]:
        """The inputs of one of several profiles by name, of sizes with commas between them: `1x1,1x64`, or `ids=1x1`.

        Raises:
            UserError: sizes without names are not as many as the model has tensors.
        """
        specs = [spec.strip() for spec in text.split(",")]
        named = {name.strip(): sizes for name, equals, sizes in (spec.partition("=") for spec in specs) if equals}
        if named and len(named) == len(specs):
            return named
        slots = {**dict(zip(parameter_names(self.module, len(self.args)), self.args, strict=True)), **self.kwargs}
        tensors = [name for name, value in slots.items() if isinstance(value, torch.Tensor | Input)]
        if not tensors and isinstance(self.module, ExportedProgram):
            tensors, _ = parameters(self.module)
        if named or len(specs) != len(tensors):
            raise UserError(
                f"--profile {text} has {_count(len(specs), 'input')}, and {self.name} {len(tensors)} "
                f"({', '.join(tensors)}): give the sizes of each, with commas between them, or name all that you give."
            )
        return dict(zip(tensors, specs, strict=True))

    def with_profiles(self, texts: Sequence[str]) -> LoadedModel:
        """The model with inputs that have these sizes, one text for each profile; see `profile`."""
        if not texts:
            return self
        given = [self.profile(text) for text in texts]
        args, kwargs = with_profiles(self.module, self.args or None, self.kwargs, given)
        return replace(self, args=tuple(args), kwargs=dict(kwargs))

    def _with_first_inputs(self, specs: Sequence[str]) -> LoadedModel:
        """Without examples: specs without names are positional inputs, in order; the others are keyword inputs."""
        known, required = parameters(self.module)
        unnamed = [spec for spec in specs if "=" not in spec]
        args = tuple(
            self._first(known[place] if place < len(known) else "", spec) for place, spec in enumerate(unnamed)
        )
        kwargs: dict[str, Any] = {}
        for spec in (spec for spec in specs if "=" in spec):
            name = spec.partition("=")[0].strip()
            self._check_name(name, spec, known, {**dict.fromkeys(known[: len(args)]), **kwargs})
            kwargs[name] = self._first(name, spec)
        missing = [name for name in required[len(args) :] if name not in kwargs]
        if missing or len(args) > len(known):
            raise UserError(self._wrong_count(len(specs), required))
        ordered = {name: kwargs[name] for name in known if name in kwargs}
        if isinstance(self.module, ExportedProgram):
            return replace(self, args=(*args, *ordered.values()))
        return replace(self, args=args, kwargs=ordered)

    def _first(self, name: str, spec: str) -> Any:
        """What a spec is for an argument: numbers and texts for those that TorchScript has as such, else an `Input`."""
        kind = argument_types(self.module).get(name)
        if kind is None:
            return Input.parse(spec)
        text = spec.partition("=")[2].strip() if "=" in spec else spec
        optional = kind.startswith("Optional[")
        plain = kind.removeprefix("Optional[").removesuffix("]") if optional else kind
        if optional and text == "None":
            return None
        if plain == "Tensor":
            return Input.parse(spec)
        if plain not in _READERS:
            raise UserError(
                f"argument {name!r} of {self.name} is of type {kind}, which --input cannot give: compile it in Python, "
                "or give file.py:factory, where factory() returns the loaded model and its inputs."
            )
        try:
            return _READERS[plain](text)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"argument {name!r} of {self.name} is of type {kind}, and --input {spec} gives {text!r}."
            ) from error

    def _check_name(self, name: str, spec: str, known: Sequence[str], chosen: Mapping[str, Any]) -> None:
        if name not in known:
            raise UserError(f"{self.name} has no input {name!r} (--input {spec}).{did_you_mean(name, known)}")
        if name in chosen:
            raise UserError(f"--input gives {name!r} twice: give it once.")

    def _wrong_count(self, given: int, names: Sequence[str]) -> str:
        called = f" ({', '.join(names)})" if names else ""
        return (
            f"{self.name} takes {_count(len(names), 'input')}{called}, and --input is given {_count(given, 'time')}: "
            "give it for each input, or name those to replace, as in --input name=2x3."
        )


_READERS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "int": int,
        "float": float,
        "str": str,
        "bool": {"True": True, "true": True, "False": False, "false": False}.__getitem__,
    }
)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _with_dtype(spec: str, example: torch.Tensor | Input) -> str:
    return spec if ":" in spec else f"{spec}:{short_name(example.dtype)}"
