"""The arguments and results of a model in TorchScript's types, which are fixed and mostly of one kind each."""

from __future__ import annotations

import hashlib
import json
import math
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ConstantArgument,
    InputKind,
    OutputKind,
    SymBoolArgument,
    SymFloatArgument,
    SymIntArgument,
)
from torch.utils import _pytree as pytree

from ...errors import UserError


@dataclass(frozen=True)
class Argument:
    """One argument of the method: its name and its TorchScript type."""

    name: str
    type: str


@dataclass(frozen=True)
class Signature:
    """How a method takes what the graph's placeholders stand for, and returns what it computes.

    Attributes:
        arguments: of the method, in order.
        leaves: for every placeholder of the graph, the expression that reads it from the arguments.
        fixed: the value of every leaf that was a constant when the model was exported, by expression.
        containers: conditions of lists and dictionaries, with what is said where one does not hold.
        results: the structure that the method returns.
        named: the tuples with names in it, as classes that TorchScript knows, by name.
    """

    arguments: tuple[Argument, ...]
    leaves: tuple[str, ...]
    fixed: tuple[tuple[str, Any], ...]
    containers: tuple[tuple[str, str], ...]
    results: pytree.TreeSpec
    named: Mapping[str, Any]

    @classmethod
    def of(
        cls, exported: ExportedProgram, names: Sequence[str], types: Mapping[str, str] = MappingProxyType({})
    ) -> Signature:
        """The signature of a program whose arguments, positional ones first, have these names.

        `types` are those that are known, for arguments with lists and dictionaries without elements.

        Raises:
            UserError: TorchScript has no type for an argument.
        """
        spec, results = exported.call_spec.in_spec, exported.call_spec.out_spec
        assert spec is not None, "torch.export records it"
        assert results is not None, "torch.export records it"
        positional, keywords = spec.children()
        specs = [*positional.children(), *keywords.children()]
        inputs = [item.arg for item in exported.graph_signature.input_specs if item.kind is InputKind.USER_INPUT]
        kinds = iter(inputs)
        arguments, leaves, fixed = [], [], []
        containers: list[tuple[str, str]] = []
        for name, child in zip(names, specs, strict=True):
            own = [next(kinds) for _ in range(child.num_leaves)]
            known = types.get(name) if _holds_nothing(child) else None
            arguments.append(Argument(name, known or _type_of(name, child, iter(own))))
            containers += _containers(name, child)
            paths = list(_paths(name, child))
            leaves += paths
            fixed += [(path, arg.value) for path, arg in zip(paths, own, strict=True) if _is_fixed(arg)]
        outputs = [item.arg for item in exported.graph_signature.output_specs if item.kind is OutputKind.USER_OUTPUT]
        named: dict[str, Any] = {}
        _result_type(results, map(_leaf_type, outputs), named)
        return cls(tuple(arguments), tuple(leaves), tuple(fixed), tuple(containers), results, named)

    @property
    def parameters(self) -> str:
        """The parameter list after `self`; what has one value in every call may be left out at the end."""
        constants = dict(self.fixed)
        texts = []
        for index, item in enumerate(self.arguments):
            optional = all(other.name in constants for other in self.arguments[index:])
            default = f" = {literal(constants[item.name])}" if optional else ""
            texts.append(f", {item.name}: {item.type}{default}")
        return "".join(texts)

    def checks(self) -> list[str]:
        """Statements that refuse other values for what was a constant when the model was exported.

        So are the numbers of elements of lists, and the keys of dictionaries.
        """
        return [
            *(f"assert {condition}, {json.dumps(message)}" for condition, message in self.containers),
            *(
                f"assert {path} {'is' if value is None else '=='} {literal(value)}, "
                f"{json.dumps(f'{path} was {value} when the model was compiled, and cannot be another value')}"
                for path, value in self.fixed
            ),
        ]

    def packed(self, results: Sequence[str]) -> str:
        """The expression of what the method returns, made of those of its leaves."""
        return _packed(self.results, iter(results), iter(self.named))


def literal(value: bool | int | float | str | None) -> str:
    """A constant in TorchScript."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def _is_fixed(argument: Any) -> bool:
    return isinstance(argument, ConstantArgument)


def _holds_nothing(spec: pytree.TreeSpec) -> bool:
    """Whether a list or dictionary in it has no elements."""
    empty = spec.type in (list, dict) and spec.num_children == 0
    return empty or any(map(_holds_nothing, spec.children()))


def _type_of(name: str, spec: pytree.TreeSpec, leaves: Iterator[Any]) -> str:
    if spec.is_leaf():
        return _leaf_type(next(leaves))
    inner = [_type_of(name, child, leaves) for child in spec.children()]
    if spec.type in (tuple, namedtuple):
        return f"Tuple[{', '.join(inner)}]"
    if spec.type in (list, dict) and len(set(inner)) > 1:
        raise UserError(
            f"argument {name!r} is a {spec.type.__name__} of {' and '.join(sorted(set(inner)))}, and TorchScript takes "
            "those of one type: pass a tuple."
        )
    if spec.type is list and inner:
        return f"List[{inner[0]}]"
    if spec.type is dict and inner and all(isinstance(key, str) for key in spec.context):
        return f"Dict[str, {inner[0]}]"
    kind = getattr(spec.type, "__name__", str(spec.type))
    raise UserError(
        f"argument {name!r} is {'an empty' if not inner else 'a'} {kind}, which TorchScript cannot take: pass tensors, "
        "numbers, and tuples, lists and dicts of them, or use ir='dynamo'."
    )


def _leaf_type(argument: Any) -> str:
    kinds = {SymIntArgument: "int", SymFloatArgument: "float", SymBoolArgument: "bool"}
    if isinstance(argument, ConstantArgument):
        return "Optional[Tensor]" if argument.value is None else type(argument.value).__name__
    return kinds.get(type(argument), "Tensor")


def _paths(name: str, spec: pytree.TreeSpec) -> Iterator[str]:
    if spec.is_leaf():
        yield name
        return
    keys = spec.context if spec.type is dict else range(spec.num_children)
    for key, child in zip(keys, spec.children(), strict=True):
        yield from _paths(f"{name}[{literal(key)}]", child)


def _containers(name: str, spec: pytree.TreeSpec) -> Iterator[tuple[str, str]]:
    """What has to hold for lists and dictionaries in an argument, outer ones first."""
    if spec.is_leaf():
        return
    keys = spec.context if spec.type is dict else range(spec.num_children)
    if spec.type is list:
        count = f"{spec.num_children} element{'s' * (spec.num_children != 1)}"
        message = f"the list {name} had {count} when the model was compiled, and cannot have another number"
        yield f"len({name}) == {spec.num_children}", message
    elif spec.type is dict:
        shown = ", ".join(map(literal, keys))
        message = f"the dictionary {name} had the keys {shown}, in this order, when the model was compiled"
        known = f"[{shown}]" if keys else "torch.jit.annotate(List[str], [])"
        yield f"list({name}.keys()) == {known}", message
    for key, child in zip(keys, spec.children(), strict=True):
        yield from _containers(f"{name}[{literal(key)}]", child)


def _packed(spec: pytree.TreeSpec, leaves: Iterator[str], named: Iterator[str]) -> str:
    if spec.is_leaf():
        return next(leaves)
    name = next(named) if spec.type is namedtuple else ""
    inner = [_packed(child, leaves, named) for child in spec.children()]
    if spec.type is list:
        return f"[{', '.join(inner)}]"
    if spec.type is dict:
        return "{" + ", ".join(f"{literal(key)}: {text}" for key, text in zip(spec.context, inner, strict=True)) + "}"
    if name:
        return f"{name}({', '.join(inner)})"
    return f"({', '.join(inner)},)" if inner else "()"


def _result_type(spec: pytree.TreeSpec, leaves: Iterator[str], named: dict[str, Any]) -> Any:
    """The type of a result in Python's words; `named` gets the tuples with names, in the order in which they begin."""
    if spec.is_leaf():
        return _RESULTS[next(leaves)]
    if spec.type is namedtuple:
        # TorchScript knows a class by its name, which says here what is in it, so that there is one for each content.
        label = f"{spec.context.__name__}_{len(named)}"
        named[label] = None
        inner = [_result_type(child, leaves, named) for child in spec.children()]
        fields = list(zip(spec.context._fields, inner, strict=True))
        made = NamedTuple(spec.context.__name__, fields)  # type: ignore[misc]
        made.__module__ = f"results_{hashlib.sha256(repr((spec.context.__name__, fields)).encode()).hexdigest()[:12]}"
        named[label] = made
        return made
    inner = [_result_type(child, leaves, named) for child in spec.children()]
    if spec.type is list and inner:
        return list[inner[0]]  # type: ignore[valid-type]
    if spec.type is dict and inner:
        return dict[str, inner[0]]  # type: ignore[valid-type]
    return tuple[tuple(inner)]  # type: ignore[misc]


_RESULTS: Mapping[str, Any] = MappingProxyType(
    {
        "Tensor": torch.Tensor,
        "Optional[Tensor]": torch.Tensor | None,
        **{kind.__name__: kind for kind in (bool, int, float, str)},
    }
)
