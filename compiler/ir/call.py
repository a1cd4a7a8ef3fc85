"""A node of the graph seen as a call: its arguments bound to the names of the operator's schema, defaults filled in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from .text import op_name


@dataclass(frozen=True, eq=False)
class Call:
    """One `call_function` node with its arguments by name. Needs no TensorRT.

    Arguments are named as in the operator's schema ("self", "dim", …). Plain Python functions, such as those of
    `operator`, name theirs as their signature does (`a` and `b` for most).
    """

    node: Node

    @property
    def name(self) -> str:
        """The node's name, unique in its graph."""
        return self.node.name

    @property
    def target(self) -> Any:
        """The operator overload or function that is called."""
        return self.node.target

    @property
    def op(self) -> str:
        """The operator's name as users write it, such as "aten.mean.dim"."""
        return op_name(self.target)

    @cached_property
    def args(self) -> Mapping[str, Any]:
        """All arguments by name, defaults included; nodes stay `torch.fx.Node`s."""
        return MappingProxyType(bind(self.target, self.node.args, self.node.kwargs))

    def arg(self, name: str) -> Any:
        """An argument as it stands in the graph: a `Node`, a Python value, or a list of either.

        Raises:
            KeyError: the operator has no argument of this name.
        """
        try:
            return self.args[name]
        except KeyError:
            known = ", ".join(self.args)
            raise KeyError(f"{self.op} has no argument {name!r}; it has {known}") from None

    def value(self, name: str) -> Any:
        """An argument with every node replaced by its value: a fake tensor, a SymInt, or a Python value."""
        return map_arg(self.arg(name), value_of)

    @property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """The fake tensors among the arguments, by name; those in lists as "tensors[0]"."""
        found: dict[str, torch.Tensor] = {}
        for name in self.args:
            value = self.value(name)
            items = {f"{name}[{i}]": item for i, item in enumerate(value)} if isinstance(value, list | tuple) else {}
            for key, item in ({name: value} | items).items():
                if isinstance(item, torch.Tensor):
                    found[key] = item
        return MappingProxyType(found)

    @property
    def out(self) -> Any:
        """The value of the call: a fake tensor, a SymInt, or a tuple of such."""
        return self.node.meta.get("val")


def value_of(node: Node) -> Any:
    """The value that tracing recorded for a node."""
    return node.meta.get("val")


def bind(target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name for an operator overload or a Python function.

    Raises:
        TypeError: an argument without default is missing, or there are too many.
    """
    if isinstance(target, torch._ops.OpOverload):
        return _bind_schema(target, args, kwargs)
    return _bind_function(target, args, kwargs)


def _bind_schema(target: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    arguments = target._schema.arguments
    if len(args) > len(arguments):
        raise TypeError(f"{op_name(target)} takes {len(arguments)} arguments, but {len(args)} were given")
    bound: dict[str, Any] = {}
    for index, argument in enumerate(arguments):
        if index < len(args):
            bound[argument.name] = args[index]
        elif argument.name in kwargs:
            bound[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            bound[argument.name] = argument.default_value
        else:
            raise TypeError(f"{op_name(target)} needs its argument {argument.name!r}")
    return bound


def _bind_function(target: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        bound = inspect.signature(target).bind(*args, **kwargs)
    except ValueError:
        # Some builtins have no signature; their arguments are positional only.
        return {f"arg{index}": value for index, value in enumerate(args)} | dict(kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)
