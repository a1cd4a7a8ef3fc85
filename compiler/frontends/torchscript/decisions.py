"""What TorchScript decides: by sizes, as all declared ranges answer alike, or by a tensor, with torch.cond."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._higher_order_ops.cond import cond_op
from torch.utils import _pytree as pytree
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from ...errors import UserError
from ...inputs import as_input, declares_input
from ...ir.input import Input
from ..given_arguments import is_declared
from .twin import Unconverted

_TENSOR = object()


class DeclaredSizes:
    """The ranges of the sizes that a model is exported with, and what depends on them.

    Args:
        inputs: what the arguments are declared as, by name.
    """

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self.inputs = inputs
        self.ranges: dict[Any, ValueRanges[Any]] = {}
        self.names: dict[str, str] = {}

    def read(self, arguments: Mapping[str, Any]) -> None:
        """Note which symbols stand for the sizes of the arguments."""
        for name, declared in self.inputs.items():
            leaves = pytree.tree_leaves(declared, is_leaf=is_declared)
            for leaf, value in zip(leaves, pytree.tree_leaves(arguments[name]), strict=True):
                if declares_input(leaf):
                    self._read(name, as_input(leaf), value)

    def _read(self, name: str, declared: Input, value: torch.Tensor) -> None:
        for dim in declared.dynamic_dims:
            size = value.size(dim)
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                self.ranges[size.node.expr] = ValueRanges(declared.min_shape[dim], declared.max_shape[dim])
                self.names[str(size.node.expr)] = f"{name}.size({dim})"

    def length(self, rounds: Any) -> int:
        """The length of a loop.

        Raises:
            Unconverted: it is not the same for all declared sizes.
        """
        if isinstance(rounds, torch.SymInt):
            known = bound_sympy(rounds.node.expr, self.ranges)
            if not rounds.node.expr.free_symbols <= set(self.ranges) or not known.is_singleton():
                raise Unconverted("it has a loop whose length depends on a size or a value")
            return int(known.lower)
        return int(rounds)

    def decided(self, predicate: Any) -> bool:
        """The truth of a predicate for all declared sizes.

        Raises:
            UserError: it is true for some of them only.
        """
        if isinstance(predicate, torch.SymInt):
            predicate = predicate != 0
        if not isinstance(predicate, torch.SymBool):
            return bool(predicate)
        expression = predicate.node.expr
        if not expression.free_symbols <= set(self.ranges):
            return bool(predicate)
        known = bound_sympy(expression, self.ranges)
        if known.is_singleton():
            return bool(known.lower)
        text = re.sub(r"\w+", lambda word: self.names.get(word[0], word[0]), str(expression))
        raise UserError(
            f"the TorchScript model has an `if` that depends on an input's size, {text}, and not all declared sizes "
            "take the same branch: declare sizes that do, and compile a model for each branch."
        )


def both(
    predicate: torch.Tensor, chosen: Callable[[Any], Any], other: Callable[[Any], Any], operands: Any
) -> Sequence[Any]:
    """torch.cond of two functions, which dynamo cannot trace: they may decide on sizes themselves.

    What they return of other kinds than tensors has to be the same; truth values become tensors.
    """
    leaves, spec = pytree.tree_flatten(operands)
    traced = [index for index, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor | torch.SymInt)]
    made = []

    def flat(branch: Callable[[Any], Any]) -> Callable[..., tuple[Any, ...]]:
        def call(*values: Any) -> tuple[Any, ...]:
            given = dict(zip(traced, values, strict=True))
            whole = [given.get(index, leaf) for index, leaf in enumerate(leaves)]
            results, structure = pytree.tree_flatten(branch(pytree.tree_unflatten(whole, spec)))
            results = [torch.full([], item) if isinstance(item, bool) else item for item in results]
            made.append((structure, [_TENSOR if isinstance(item, torch.Tensor) else item for item in results]))
            return tuple(item for item in results if isinstance(item, torch.Tensor))

        return call

    tensors = iter(cond_op(predicate, flat(chosen), flat(other), tuple(leaves[index] for index in traced)))
    (structure, fixed), (others, unlike) = made[-2:]
    if structure != others or fixed != unlike:
        raise Unconverted("it has an `if` on a tensor whose branches return something else than tensors of one shape")
    leaves = [next(tensors) if item is _TENSOR else item for item in fixed]
    results: Sequence[Any] = pytree.tree_unflatten(leaves, structure)
    return results
