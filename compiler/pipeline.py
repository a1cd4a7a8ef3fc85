"""Pipelines: an ordered list of passes, its text form, and the check that the order can work."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..passes.decompose import CORE_ATEN
from .errors import UserError, did_you_mean
from .ir.facts import FACTS, Fact
from .ir.program import Program
from .pass_base import Pass, option_name

STAGES = ("decompose", "lower", "annotate", "partition", "convert", "build", "splice")
"""The seven stages, in the order that works."""

DEFAULT_TEXT = ",".join(STAGES)

KNOWN_FACTS: Mapping[str, Fact] = types.MappingProxyType({fact.name: fact for fact in (CORE_ATEN, *FACTS.values())})
"""All facts that passes can require, establish and break, by name."""


def facts_of(program: Program) -> frozenset[str]:
    """The names of all facts that hold for a program."""
    return frozenset(name for name, fact in KNOWN_FACTS.items() if fact.holds(program))


@dataclass(frozen=True)
class Pipeline:
    """An ordered list of passes; the order is the user's and is never changed, only checked."""

    passes: tuple[Pass, ...]

    def __init__(self, passes: Iterable[Pass]) -> None:
        object.__setattr__(self, "passes", tuple(passes))
        for item in self.passes:
            if not isinstance(item, Pass):
                raise UserError(f"a pipeline holds passes, and {item!r} is none: subclass trt_passes.Pass.")

    @classmethod
    def parse(cls, text: str, extra: Iterable[type[Pass] | Pass] = ()) -> Pipeline:
        """The pipeline that a text such as `decompose,lower,annotate,partition{min-block-size=3}` describes.

        `lower` stands for all lowering passes; one of them is named `lower.fold-constants`. `extra` adds passes of
        the user's own to those that can be named.

        Raises:
            UserError: an unknown pass or option (with the closest match), or text that is not a pipeline.
        """
        known: dict[str, type[Pass] | Pass] = dict(known_passes())
        known |= {item.name: item for item in extra}
        passes: list[Pass] = []
        for name, options in _elements(text):
            if name == "lower":
                if options:
                    raise UserError("'lower' takes no options: give them to one pass, such as lower.fold-constants{…}.")
                passes.extend(lower_passes())
            elif name in known:
                passes.append(_instance(known[name], options))
            else:
                raise UserError(f"unknown pass {name!r}.{did_you_mean(name, [*known, 'lower'])}")
        return cls(passes)

    def __str__(self) -> str:
        lowering = lower_passes()
        parts, index = [], 0
        while index < len(self.passes):
            if lowering and self.passes[index : index + len(lowering)] == lowering:
                parts.append("lower")
                index += len(lowering)
            else:
                parts.append(pass_text(self.passes[index]))
                index += 1
        return ",".join(parts)

    def __iter__(self) -> Iterator[Pass]:
        return iter(self.passes)

    def __len__(self) -> int:
        return len(self.passes)

    def insert_before(self, name: str, *passes: Pass) -> Pipeline:
        """The pipeline with passes put before the first pass of that name or stage."""
        position = self._position(name)
        return Pipeline((*self.passes[:position], *passes, *self.passes[position:]))

    def insert_after(self, name: str, *passes: Pass) -> Pipeline:
        """The pipeline with passes put after the last pass of that name or stage."""
        position = len(self.passes) - Pipeline(self.passes[::-1])._position(name)
        return Pipeline((*self.passes[:position], *passes, *self.passes[position:]))

    def until(self, name: str) -> Pipeline:
        """The pipeline up to and with the last pass of that name or stage."""
        return Pipeline(self.passes[: len(self.passes) - Pipeline(self.passes[::-1])._position(name)])

    def _position(self, name: str) -> int:
        for index, item in enumerate(self.passes):
            if name in (item.name, item.stage):
                return index
        names = [word for item in self.passes for word in (item.name, item.stage)]
        raise UserError(f"the pipeline has no pass or stage {name!r}.{did_you_mean(name, dict.fromkeys(names))}")

    def check(self, facts: frozenset[str] = frozenset()) -> None:
        """Raise UserError unless every pass finds the facts it requires, starting from `facts`."""
        have = set(facts)
        for index, item in enumerate(self.passes):
            missing = sorted(item.requires - have)
            if missing:
                raise UserError(self._misplaced(item, index, missing[0]))
            have = (have - item.breaks_facts) | item.establishes

    def _misplaced(self, item: Pass, index: int, fact: str) -> str:
        before = self.passes[:index]
        breaker = next((p.name for p in reversed(before) if fact in p.breaks_facts and fact not in p.establishes), None)
        makers = [p.name for p in (*self.passes, *_defaults()) if fact in p.establishes]
        maker = makers[0] if makers else "a pass that establishes it"
        if any(fact in p.establishes for p in before) and breaker is not None:
            return f"{item.name} needs {fact!r}, which {breaker} ends: put {maker} between {breaker} and {item.name}."
        return f"{item.name} needs {fact!r}: put {maker} before it."


def known_passes() -> Mapping[str, type[Pass]]:
    """The built-in passes by name, in the default order."""
    from ..passes.annotate import Annotate
    from ..passes.build import Build
    from ..passes.convert import Convert
    from ..passes.decompose import Decompose
    from ..passes.lower import PASSES
    from ..passes.partition import Partition
    from ..passes.splice import Splice

    classes: list[type[Pass]] = [Decompose, *PASSES, Annotate, Partition, Convert, Build, Splice]
    return {item.name: item for item in classes}


def lower_passes() -> tuple[Pass, ...]:
    """The lowering passes that `lower` stands for, in order."""
    from ..passes.lower import PASSES

    return tuple(item() for item in PASSES)


def _defaults() -> tuple[Pass, ...]:
    return tuple(item() for item in known_passes().values())


def default_pipeline() -> Pipeline:
    """All seven stages."""
    return Pipeline.parse(DEFAULT_TEXT)


def as_pipeline(value: str | Pipeline | Sequence[Pass]) -> Pipeline:
    """A pipeline from its text, from passes, or as it is."""
    if isinstance(value, Pipeline):
        return value
    if not isinstance(value, str | Iterable):
        raise UserError(f"the pipeline is {value!r}: give a Pipeline, its text, or a list of passes.")
    return Pipeline.parse(value) if isinstance(value, str) else Pipeline(value)


# --- text ----------------------------------------------------------------------------------------------------------
_NAME = re.compile(r"\s*(?P<name>[A-Za-z0-9_.-]+)\s*")


def pass_text(item: Pass) -> str:
    """A pass as pipeline text: its name, and options that differ from their defaults in braces."""
    options = ",".join(f"{name}={_option_text(value)}" for name, value in item.options().items())
    return f"{item.name}{{{options}}}" if options else item.name


def _option_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return f"[{','.join(str(item) for item in items)}]"
    return str(value)


def _elements(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    position = 0
    if not text.strip():
        raise UserError(f"the pipeline is empty: name passes, such as {DEFAULT_TEXT}.")
    while True:
        match = _NAME.match(text, position)
        if match is None:
            raise UserError(
                f"the pipeline {text!r} has no pass name at position {position}: write name,name{{option=value}}."
            )
        position = match.end()
        options: dict[str, str] = {}
        if text[position : position + 1] == "{":
            end = text.find("}", position)
            if end < 0:
                raise UserError(f"the pipeline {text!r} has an unclosed '{{' after {match['name']}.")
            options = _options(match["name"], text[position + 1 : end])
            position = end + 1
            while text[position : position + 1].isspace():
                position += 1
        yield match["name"], options
        if position == len(text):
            return
        if text[position] != ",":
            raise UserError(
                f"the pipeline {text!r} has {text[position]!r} at position {position} where a comma belongs."
            )
        position += 1


def _options(name: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in re.split(r",(?![^\[]*\])", text):
        if not item.strip():
            continue
        key, separator, value = item.partition("=")
        if not separator:
            raise UserError(f"option {item.strip()!r} of {name} has no value: write {item.strip()}=VALUE.")
        options[key.strip()] = value.strip()
    return options


def _instance(item: type[Pass] | Pass, options: Mapping[str, str]) -> Pass:
    if isinstance(item, Pass):
        return dataclasses.replace(item, **_converted(type(item), options)) if options else item
    return item(**_converted(item, options))


def _converted(cls: type[Pass], options: Mapping[str, str]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    names = {option_name(item.name): item.name for item in dataclasses.fields(cls)}
    values = {}
    for key, text in options.items():
        field_name = names.get(key.replace("_", "-"))
        if field_name is None:
            close = did_you_mean(key, names) if names else " It has no options."
            raise UserError(f"pass {cls.name} has no option {key!r}.{close}")
        values[field_name] = _typed(f"option {key!r} of {cls.name}", hints[field_name], text)
    return values


def _typed(what: str, hint: Any, text: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        choices = [choice for choice in typing.get_args(hint) if choice is not type(None)]
        if text.lower() == "none" and len(choices) < len(typing.get_args(hint)):
            return None
        return _typed(what, choices[0], text)
    if origin in (tuple, frozenset):
        items = [item.strip() for item in text.strip("[]").split(",") if item.strip()]
        return origin(_typed(what, typing.get_args(hint)[0], item) for item in items)
    if origin is typing.Literal:
        if text in typing.get_args(hint):
            return text
        raise UserError(f"{what} is {text!r}.{did_you_mean(text, typing.get_args(hint))}")
    if hint is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError(f"{what} is {text!r}: give true or false.")
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            raise UserError(f"{what} is {text!r}: give a number.") from None
    return text
