"""The arguments and results of a model in TorchScript's types, which are fixed and mostly of one kind each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, SymBoolArgument, SymFloatArgument, SymIntArgument
from torch.utils import _pytree as pytree

from ...errors import UserError


@dataclass(frozen=True)
class Argument:
    """One argument of the method: its name, its TorchScript type, and whether it is None in every call."""

    name: str
    type: str
    absent: bool


@dataclass(frozen=True)
class Signature:
    """How a method takes what the graph's placeholders stand for, and returns what it computes.

    Attributes:
        arguments: of the method, in order.
        leaves: for every placeholder of the graph, the expression that reads it from the arguments.
        fixed: the value of every leaf that was a constant when the model was exported, by expression.
        results: the structure that the method returns.
    """

    arguments: tuple[Argument, ...]
    leaves: tuple[str, ...]
    fixed: tuple[tuple[str, Any], ...]
    results: pytree.TreeSpec

    @classmethod
    def of(cls, exported: ExportedProgram, names: Sequence[str]) -> Signature:
        """The signature of a program whose arguments, positional ones first, have these names.

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
        for name, child in zip(names, specs, strict=True):
            own = [next(kinds) for _ in range(child.num_leaves)]
            arguments.append(Argument(name, _type_of(name, child, iter(own)), _is_none(own)))
            paths = list(_paths(name, child))
            leaves += paths
            fixed += [(path, arg.value) for path, arg in zip(paths, own, strict=True) if _is_fixed(arg)]
        return cls(tuple(arguments), tuple(leaves), tuple(fixed), results)

    @property
    def parameters(self) -> str:
        """The parameter list after `self`; what is always None may be left out at the end."""
        texts = []
        for index, item in enumerate(self.arguments):
            optional = all(other.absent for other in self.arguments[index:])
            texts.append(f", {item.name}: {item.type}" + (" = None" if optional else ""))
        return "".join(texts)

    def checks(self) -> list[str]:
        """Statements that refuse other values for what was a constant when the model was exported."""
        return [
            f"assert {path} {'is' if value is None else '=='} {literal(value)}, "
            f"{json.dumps(f'{path} was {value} when the model was compiled, and cannot be another value')}"
            for path, value in self.fixed
        ]

    def packed(self, results: Sequence[str]) -> str:
        """The expression of what the method returns, made of those of its leaves."""
        return _packed(self.results, iter(results))


def literal(value: bool | int | float | str | None) -> str:
    """A constant in TorchScript."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def _is_fixed(argument: Any) -> bool:
    return isinstance(argument, ConstantArgument)


def _is_none(arguments: Sequence[Any]) -> bool:
    return len(arguments) == 1 and _is_fixed(arguments[0]) and arguments[0].value is None


def _type_of(name: str, spec: pytree.TreeSpec, leaves: Iterator[Any]) -> str:
    if spec.is_leaf():
        return _leaf_type(next(leaves))
    inner = [_type_of(name, child, leaves) for child in spec.children()]
    if spec.type is tuple:
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


def _packed(spec: pytree.TreeSpec, leaves: Iterator[str]) -> str:
    if spec.is_leaf():
        return next(leaves)
    inner = [_packed(child, leaves) for child in spec.children()]
    if spec.type is list:
        return f"[{', '.join(inner)}]"
    if spec.type is dict:
        return "{" + ", ".join(f"{literal(key)}: {text}" for key, text in zip(spec.context, inner, strict=True)) + "}"
    return f"({', '.join(inner)},)" if inner else "()"
