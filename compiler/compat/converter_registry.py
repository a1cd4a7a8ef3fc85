"""`DYNAMO_CONVERTERS`: which operators have a converter, in the form in which Torch-TensorRT tells it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
from torch.fx import Node

from ..ir.call import Call
from ..ir.text import op_name
from ..tensorrt.plugins import converters_in
from ..tensorrt.registry import Converter, default_registry
from .compilation_settings import CompilationSettings
from .converters import REGISTERED


class CallingConvention(Enum):
    """How a converter is called: all of them take a context first."""

    LEGACY = auto()
    CTX = auto()


def _always(node: Node, settings: CompilationSettings) -> bool:
    return True


@dataclass(frozen=True)
class ConverterSupport:
    """A converter, and which calls it takes.

    Attributes:
        converter_implementation: the function.
        capability_validator: `(node, settings)` says whether it takes a call.
        supports_dynamic_shapes: whether sizes may vary.
        requires_output_allocator, requires_native_multidevice: as there.
    """

    converter_implementation: Callable[..., Any]
    capability_validator: Callable[[Node, CompilationSettings], bool] = _always
    supports_dynamic_shapes: bool = False
    requires_output_allocator: bool = False
    requires_native_multidevice: bool = False


class ConverterRegistry:
    """The converters of this package, and those that were registered for Torch-TensorRT, to be looked at."""

    def __init__(self) -> None:
        self._disallowed: frozenset[str] = frozenset()

    def _all(self) -> dict[Any, Converter]:
        return dict(default_registry().extended(converters_in(REGISTERED.items)).converters)

    def __contains__(self, key: Any) -> bool:
        """Whether an operator has a converter; of a node, also whether the converter takes it."""
        return self.get(key) is not None

    def __getitem__(self, key: Any) -> Any:
        """`(converter, calling convention, flags)` of a node; of an operator, its converters.

        Raises:
            KeyError: there is none, or none that takes the node.
        """
        found = self.get(key)
        if found is None:
            raise KeyError(f"{op_name(key.target if isinstance(key, Node) else key)} has no converter that takes it")
        return found

    def get(self, node: Any, value: Any = None) -> Any:
        """The same, or `value`."""
        target = node.target if isinstance(node, Node) else node
        converter = self._all().get(target)
        if converter is None or not self._disallowed.isdisjoint(forms(target)):
            return value
        if not isinstance(node, Node):
            return [_support(converter)]
        if converter.violations(Call(node)):
            return value
        flags = {"supports_dynamic_shapes": True, "requires_output_allocator": False}
        return converter.convert, CallingConvention.CTX, flags

    def get_unvalidated(self, key: Any, value: Any = None) -> Any:
        """The converters of an operator, or `value`."""
        found = self.get_all_converters_with_target(key)
        return found or value

    @staticmethod
    def qualified_name_or_str(target: Any) -> str:
        """The name of an operator with its library; the text of anything else."""
        return op_name(target) if callable(target) or isinstance(target, str) else str(target)

    def validate_invariants(self) -> None:
        """Nothing: what is registered is checked when it is."""

    def keys(self) -> set[Any]:
        """The operators that have a converter."""
        return set(self._all())

    def unique_targets(self) -> set[Any]:
        """The operators that have a converter."""
        return self.keys()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def get_all_converters_with_target(self, key: Any, return_registry_info: bool = False) -> Any:
        """The converters of an operator; with `return_registry_info` also how many each registry has."""
        converters = [item for item in REGISTERED.items if isinstance(item, Converter)]
        own, added = default_registry().get(key), [item for item in converters if key in item.targets]
        found = [_support(item) for item in (*reversed(added), *([own] if own else []))]
        info = {"trt_passes": int(own is not None), "registered": len(added)}
        return (found, {name: count for name, count in info.items() if count}) if return_registry_info else found

    def get_converter_support_info(self) -> dict[str, dict[str, int]]:
        """For every operator, by name: how many converters which registry has."""
        return {op_name(key): self.get_all_converters_with_target(key, True)[1] for key in self.keys()}

    def display_all_available_converters(self) -> str:
        """The same as a text, a line for every operator."""
        rows = sorted(self.get_converter_support_info().items())
        return "\n".join(f"{name}: {', '.join(f'{n} of {kind}' for kind, n in info.items())}" for name, info in rows)

    def set_disallowed_targets(self, torch_executed_ops: Collection[Any]) -> None:
        """Have no converter for these operators, given as such or by name, until others are set: for partitioning.

        What `compile` leaves to PyTorch is said by its own option `torch_executed_ops`.
        """
        self._disallowed = frozenset(map(target_text, torch_executed_ops))

    def get_disallowed_targets(self, torch_executed_ops: Collection[Any] | None = None) -> set[str]:
        """The names of operators that are to stay in PyTorch: those given, or those that were set."""
        return set(self._disallowed if torch_executed_ops is None else map(target_text, torch_executed_ops))

    def set_compilation_settings(self, compilation_settings: CompilationSettings) -> None:
        """Nothing: every compilation has options of its own."""


def target_text(target: Any) -> str:
    """An operator by its library and name, such as "aten.relu.default"; a name as it is, without "torch.ops."."""
    if isinstance(target, str):
        return target.removeprefix("torch.ops.").replace("::", ".")
    return op_name(target)


def forms(target: Any) -> set[str]:
    """The names that an operator may be called by: with its overload, and without."""
    text = target_text(target)
    return {text, text.rpartition(".")[0], text.removesuffix(".default"), str(target)}


def _support(converter: Converter) -> ConverterSupport:
    def takes(node: Node, settings: CompilationSettings) -> bool:
        return not converter.violations(Call(node))

    return ConverterSupport(converter.convert, takes, supports_dynamic_shapes=True)


DYNAMO_CONVERTERS = ConverterRegistry()


class ConvertersByOperator(Mapping[Any, list[ConverterSupport]]):
    """`DYNAMO_ATEN_CONVERTERS`: the converters of every operator, to be looked at; `dynamo_tensorrt_converter` adds."""

    def __getitem__(self, key: Any) -> list[ConverterSupport]:
        found: list[ConverterSupport] = DYNAMO_CONVERTERS.get_all_converters_with_target(key)
        if not found:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[Any]:
        return iter(DYNAMO_CONVERTERS.keys())

    def __len__(self) -> int:
        return len(DYNAMO_CONVERTERS)


DYNAMO_ATEN_CONVERTERS = ConvertersByOperator()


def takes(node: Node) -> bool:
    """Whether a converter takes a call; where tracing recorded no values, whether there is one for the operator."""
    values = all("val" in item.meta for item in (node, *node.all_input_nodes))
    return isinstance(node.target, torch._ops.OpOverload) and (node if values else node.target) in DYNAMO_CONVERTERS
