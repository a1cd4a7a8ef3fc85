"""The converter registry: which operators TensorRT can take, under which conditions, and the function for each.

Nothing here imports TensorRT: the conditions decide verdicts on machines that have none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...compiler.call import Call
from ...compiler.ledger import Reason
from ...compiler.reasons import REASON_CODES
from ...compiler.text import op_name

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext
    from ...compiler.tensorrt.tensor import Tensor

ConvertFunction = Callable[["ConverterContext", Call], "Tensor | tuple[Tensor | None, ...] | None"]
"""`(ctx, call)` to the call's tensor, a tuple of them (None for results that the layers do not compute), or None for a
size."""


@dataclass(frozen=True)
class Condition:
    """A condition that a call must meet for its converter to take it.

    Attributes:
        code: the reason code of a violation (`TP2xx`).
        doc: one sentence for the documentation, stating what must hold.
        check: the violation of a call as one sentence with the actual values, or None if the condition holds.
    """

    code: str
    doc: str
    check: Callable[[Call], str | None]

    def __post_init__(self) -> None:
        if self.code not in REASON_CODES:
            raise ValueError(f"condition {self.doc!r} has the unknown reason code {self.code!r}")

    def violation(self, call: Call) -> Reason | None:
        """The reason for which a call does not meet the condition, or None."""
        message = self.check(call)
        return None if message is None else Reason(self.code, message)


@dataclass(frozen=True)
class Converter:
    """The conversion of some operator overloads.

    Attributes:
        targets: the overloads (or Python functions on sizes) that it converts.
        convert: `(ctx, call) -> Tensor`, or a tuple for operators with several results.
        conditions: what a call must meet.
        composite: whether `decompose` must keep the operators whole.
    """

    targets: tuple[Any, ...]
    convert: ConvertFunction
    conditions: tuple[Condition, ...] = ()
    composite: bool = False

    def violations(self, call: Call) -> tuple[Reason, ...]:
        """The reasons for which the call cannot be converted; empty if it can."""
        reasons = (condition.violation(call) for condition in self.conditions)
        return tuple(reason for reason in reasons if reason is not None)


@dataclass(frozen=True)
class Registry:
    """All converters, by target. Immutable: `extended` gives another registry."""

    converters: Mapping[Any, Converter]

    @classmethod
    def of(cls, converters: Iterable[Converter]) -> Registry:
        """The registry of some converters.

        Raises:
            ValueError: two converters claim the same target.
        """
        found: dict[Any, Converter] = {}
        for converter in converters:
            for target in converter.targets:
                if target in found:
                    raise ValueError(f"{op_name(target)} has two converters")
                found[target] = converter
        return cls(MappingProxyType(found))

    def get(self, target: Any) -> Converter | None:
        """The converter of a target, or None."""
        return self.converters.get(target)

    @property
    def targets(self) -> tuple[Any, ...]:
        """All targets that have a converter, by name."""
        return tuple(sorted(self.converters, key=op_name))

    def composite_targets(self) -> frozenset[Any]:
        """The operators that `decompose` must keep whole."""
        return frozenset(target for target, converter in self.converters.items() if converter.composite)

    def extended(self, converters: Iterable[Converter]) -> Registry:
        """A registry with these converters added; they replace those with the same targets."""
        return Registry(MappingProxyType({**self.converters, **Registry.of(converters).converters}))


@dataclass
class Family:
    """Converters of related operators, collected by decorating their functions."""

    name: str
    converters: list[Converter] = field(default_factory=list)

    def converter(
        self, *targets: Any, conditions: Iterable[Condition] = (), composite: bool = False
    ) -> Callable[[ConvertFunction], ConvertFunction]:
        """Register the decorated function as the converter of `targets`."""

        def register(function: ConvertFunction) -> ConvertFunction:
            self.converters.append(Converter(targets, function, tuple(conditions), composite))
            return function

        return register

    def __iter__(self) -> Iterator[Converter]:
        return iter(self.converters)


def families() -> tuple[Family, ...]:
    """The families of converters that come with the package."""
    from . import (
        activation,
        attention,
        bitwise,
        comparison,
        convolution,
        creation,
        distance,
        indexing,
        linear,
        normalization,
        pointwise,
        pooling,
        reduction,
        resize,
        scan,
        scatter,
        shape,
        symbolic,
    )

    modules = (
        *(pointwise, comparison, activation, reduction, linear, convolution, pooling, normalization),
        *(attention, shape, indexing, creation, resize, symbolic),
        *(scatter, bitwise, scan, distance),
    )
    return tuple(module.FAMILY for module in modules)


@functools.cache
def default_registry() -> Registry:
    """The registry of all converters that come with the package."""
    return Registry.of(converter for family in families() for converter in family)
