"""The converter registry: which operators TensorRT can take, under which conditions, and the function for each.

Nothing here imports TensorRT: the conditions decide verdicts on machines that have none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ..ir.call import Call
from ..ir.ledger import Reason
from ..ir.reasons import REASON_CODES
from ..ir.text import op_name
from ..ir.undecided import UndecidedSize, sizes_not_guessed
from . import handed_over
from .in_float32 import in_float32
from .loader import TensorRT

if TYPE_CHECKING:
    from .context import ConvertFunction


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
        """The reason for which a call does not meet the condition, or None; TP501 if the check itself raises.

        What holds for some of the declared sizes only does not hold (TP203).
        """
        try:
            with sizes_not_guessed(call.node.graph):
                message = self.check(call)
        except UndecidedSize as error:
            return Reason("TP203", f"{call.op}: whether {self.doc} depends on sizes that vary: {error}")
        except Exception as error:  # a faulty check must not take the rest of the model down with it
            text = f"{call.op}: the check that {self.doc} raised {type(error).__name__}: {error}"
            return Reason("TP501", text)
        return None if message is None else Reason(self.code, message)


def _always(call: Call) -> bool:
    return True


@dataclass(frozen=True)
class Requirement:
    """A layer that a converter needs and that not every TensorRT can build.

    Attributes:
        capability: the property of `loader.TensorRT` that says whether it can, such as "can_build_nonzero".
        layer: the layer's name in TensorRT.
        applies: whether a call needs the layer; by default every call does.
    """

    capability: str
    layer: str
    applies: Callable[[Call], bool] = _always
    code: ClassVar[str] = "TP209"

    def __post_init__(self) -> None:
        if not isinstance(getattr(TensorRT, self.capability, None), property):
            raise ValueError(f"TensorRT has no property {self.capability!r}")

    @property
    def doc(self) -> str:
        """One sentence for the documentation."""
        sometimes = "" if self.applies is _always else " (for some arguments)"
        return f"this TensorRT builds {self.layer}{sometimes}"

    def violation(self, call: Call, library: TensorRT | None) -> Reason | None:
        """Why a call cannot be converted with a TensorRT; without one, TensorRT-RTX is assumed, which builds less."""
        if not self.applies(call) or (library is not None and getattr(library, self.capability)):
            return None
        which = library or "TensorRT-RTX, which is assumed as none is installed,"
        return Reason(self.code, f"{call.op} needs {self.layer}, which {which} cannot build.")


IsConstant = Callable[[Any], bool]
"""Whether an argument of a call is a tensor that is known when the network is made."""

PYTORCH = "pytorch"
"""The variant that every operator has: it stays in PyTorch, with PyTorch's own kernel."""


def _anywhere(call: Call, is_constant: IsConstant) -> bool:
    return True


@dataclass(frozen=True)
class Variant:
    """A way of computing an operator in TensorRT, one of several.

    Attributes:
        name: unique among those of an operator, such as "patches-as-product".
        doc: what it does, and when it applies, for the documentation.
        convert: adds its layers.
        applies: whether a call can be computed that way.
        default: whether it is taken without a reason to take another, where it applies; of a call, if it depends.
        exact: whether it adds up in float32 what others may add up in halves; None where that is the same for all.
    """

    name: str
    doc: str
    convert: ConvertFunction
    applies: Callable[[Call, IsConstant], bool] = _anywhere
    default: bool | Callable[[Call], bool] = True
    exact: bool | None = None

    def is_default(self, call: Call) -> bool:
        """Whether it is taken for a call, to which it applies, without a reason to take another."""
        return self.default if isinstance(self.default, bool) else self.default(call)


@dataclass(frozen=True)
class Converter:
    """The conversion of some operator overloads.

    Attributes:
        targets: the overloads (or Python functions on sizes) that it converts; the name of one, such as
            "library.operator.default", if another package registers it.
        convert: `(ctx, call) -> Tensor`, or a tuple for operators with several results.
        conditions: what a call must meet.
        composite: whether `decompose` must keep the operators whole.
        requires: what the TensorRT at hand must be able to build.
        variants: ways of computing it, the preferred ones first; the last applies to every call. None for the one way
            that `convert` is.
    """

    targets: tuple[Any, ...]
    convert: ConvertFunction
    conditions: tuple[Condition, ...] = ()
    composite: bool = False
    requires: tuple[Requirement, ...] = ()
    variants: tuple[Variant, ...] = ()
    is_plugin: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The operators that it converts, as text."""
        return ", ".join(map(op_name, self.targets))

    def possible(self, call: Call, is_constant: IsConstant) -> tuple[Variant, ...]:
        """The variants that a call can be computed by."""
        return tuple(variant for variant in self.variants if variant.applies(call, is_constant))

    def chosen(
        self, call: Call, is_constant: IsConstant, wanted: str | None = None, preset: str | None = None
    ) -> Variant | None:
        """The variant that a call is computed by; None where there is one way only.

        Args:
            call: the call.
            is_constant: whether an argument is known when the network is made.
            wanted: the name of a variant, which is taken if it applies.
            preset: "exact" prefers what adds up in float32, "fast" what does not; None takes the defaults.
        """
        possible = self.possible(call, is_constant)
        if not possible:
            return None
        named = next((variant for variant in possible if variant.name == wanted), None)
        liked = [variant for variant in possible if variant.exact is (preset == "exact")] if preset else []
        return named or next(iter(liked), None) or next(variant for variant in possible if variant.is_default(call))

    @property
    def rules(self) -> tuple[Requirement | Condition, ...]:
        """All that must hold, each with its reason code and its sentence for the documentation."""
        return (*self.requires, *self.conditions)

    def unbuildable(self, call: Call, library: TensorRT | None) -> tuple[Reason, ...]:
        """The reasons for which a TensorRT (None: whichever will be used) cannot build what the call needs."""
        reasons = (requirement.violation(call, library) for requirement in self.requires)
        return tuple(reason for reason in reasons if reason is not None)

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
        found = self.converters.get(target)
        if found is None and isinstance(target, torch._ops.OpOverload):
            return self.converters.get(str(target))
        return found

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
    waiting: list[Variant] = field(default_factory=list)
    is_plugin: ClassVar[bool] = True

    def converter(
        self,
        *targets: Any,
        conditions: Iterable[Condition] = (),
        composite: bool = False,
        requires: Iterable[Requirement] = (),
        wide: bool = False,
        variant: str = "",
    ) -> Callable[[ConvertFunction], ConvertFunction]:
        """Register the decorated function as the converter of `targets`.

        With `wide`, it computes halves in float32 (see `in_float32`): for whatever takes several layers that round, or
        adds up many elements. `variant` names the function as the last of the variants that were registered before it.
        """

        def register(function: ConvertFunction) -> ConvertFunction:
            convert = in_float32(function) if wide else function
            variants: tuple[Variant, ...] = ()
            if variant:
                variants = (*self.waiting, Variant(variant, _first_line(function), convert))
            self.waiting = []
            self.converters.append(Converter(targets, convert, tuple(conditions), composite, tuple(requires), variants))
            return function

        return register

    def variant(
        self,
        name: str,
        applies: Callable[[Call, IsConstant], bool] = _anywhere,
        default: bool | Callable[[Call], bool] = True,
        exact: bool | None = None,
    ) -> Callable[[ConvertFunction], ConvertFunction]:
        """Register the decorated function as a variant of the converter that is registered next."""

        def register(function: ConvertFunction) -> ConvertFunction:
            self.waiting.append(Variant(name, _first_line(function), function, applies, default, exact))
            return function

        return register

    def __iter__(self) -> Iterator[Converter]:
        return iter(self.converters)


def _first_line(function: Callable[..., Any]) -> str:
    return " ".join((function.__doc__ or "").split("\n\n")[0].split())


@functools.cache
def default_registry() -> Registry:
    """The registry of all converters that come with the package.

    Raises:
        RuntimeError: `trt_passes.passes`, where they are, was never imported.
    """
    registry: Registry = handed_over.make()
    return registry
