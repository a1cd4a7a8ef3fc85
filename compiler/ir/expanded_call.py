"""A node's call as a function that can be traced: what its operator's decomposition does with its inputs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.node import map_arg
from torch.utils._sympy.symbol import SymT, symbol_is_type

from .program import fake_mode_of

_LOGGER = logging.getLogger("torch.fx.experimental.symbolic_shapes")


class NotExpandable(Exception):
    """A node's decomposition cannot be put in its place."""


@contextmanager
def sizes_stay_open(graph: Graph) -> Iterator[None]:
    """While a graph, or a call of it, is traced anew, refuse to fix a size that varies.

    A rule that reads a size as a number makes PyTorch note that it has this value, and from then on the whole program
    would be for that size alone.

    Raises:
        NotExpandable: the rule did so; the sizes are as they were.
    """
    shape_env: ShapeEnv | None = getattr(fake_mode_of(graph), "shape_env", None)
    if shape_env is None:
        yield
        return
    note, ranges, guards = shape_env._set_replacement, dict(shape_env.var_to_range), len(shape_env.guards)

    def checked(symbol: sympy.Symbol, value: sympy.Expr, reason: str) -> None:
        if symbol in ranges and value.is_number:
            # Raised here, since an answer would be cached, and given again without asking.
            raise NotExpandable(f"its decomposition holds for one size only ({symbol} = {value}), which varies here")
        note(symbol, value, reason)

    def not_fixed(expr: sympy.Basic, value: sympy.Basic) -> None:
        if _fixes(expr, value):
            raise NotExpandable(f"its decomposition holds for one size only ({expr} = {value}), which varies here")

    # PyTorch asks the second one whenever it takes a condition, or a number, for what it is in the example.
    vars(shape_env).update(_set_replacement=checked, _check_frozen=not_fixed)
    level = _LOGGER.level
    # It logs whatever is raised while it answers.
    _LOGGER.setLevel(logging.ERROR)
    try:
        yield
    except NotExpandable:
        del shape_env.guards[guards:]
        shape_env.var_to_range.update(ranges)
        raise
    finally:
        _LOGGER.setLevel(level)
        for name in ("_set_replacement", "_check_frozen"):
            del vars(shape_env)[name]


def _fixes(expr: sympy.Basic, value: sympy.Basic) -> bool:
    """Whether it makes a number of a size that an expression stands for, to say that it has this value."""
    if any(symbol_is_type(symbol, (SymT.UNBACKED_INT, SymT.UNBACKED_FLOAT)) for symbol in expr.free_symbols):
        return False  # what is said of a number that is read of a tensor becomes a check in the graph
    if value in (sympy.true, sympy.false):
        computed = isinstance(expr, sympy.Eq) and any(side.is_number for side in expr.args)
        return computed and value is sympy.true and not any(side.is_Symbol for side in expr.args)
    return bool(expr.free_symbols) and bool(value.is_number)


@dataclass(frozen=True)
class ExpandedCall:
    """A node as a function of its input values; `key` is equal for calls whose traces are equal."""

    run: Callable[..., Any]
    values: tuple[Any, ...]
    key: Any

    @classmethod
    def of(cls, node: Node, rule: Callable[..., Any]) -> ExpandedCall:
        inputs = node.all_input_nodes
        positions = {source: index for index, source in enumerate(inputs)}

        def run(*values: Any) -> Any:
            args = map_arg(node.args, lambda source: values[positions[source]])
            kwargs = map_arg(node.kwargs, lambda source: values[positions[source]])
            result = rule(*plain(args), **plain(kwargs))
            if result is NotImplemented:
                raise NotExpandable(f"{node.target} has no decomposition for these arguments")
            # fx would make a named tuple by a call of its class, which is no operator.
            return tuple(result) if isinstance(result, tuple) else result

        values = tuple(source.meta["val"] for source in inputs)
        text = str(map_arg((node.args, dict(node.kwargs)), lambda source: f"%{positions[source]}"))
        return cls(run, values, (node.target, text, tuple(signature_of(value) for value in values)))


def plain(argument: Any) -> Any:
    """An argument with Python's lists and dicts in place of fx's, which rules cannot change."""
    if isinstance(argument, dict):
        return {key: plain(item) for key, item in argument.items()}
    if isinstance(argument, list):
        return [plain(item) for item in argument]
    return tuple(map(plain, argument)) if type(argument) is tuple else argument


def signature_of(value: Any) -> Any:
    """What a trace depends on of an input: a tensor's type, sizes and layout, or a size."""
    if isinstance(value, torch.Tensor):
        return (value.dtype, tuple(map(str, value.shape)), tuple(map(str, value.stride())), value.device)
    return str(value)
