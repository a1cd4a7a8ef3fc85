"""What dynamo hands to a backend: which inputs are weights, sizes, numbers and tensors, and how large they get."""

from __future__ import annotations

import functools
import inspect
import operator
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

import sympy
import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule, Node

from ..ir.input import Input
from ..ir.module_state import with_state
from ..ir.program import Program
from ..ir.retraced import HIDING_NAMES, retraced
from ..ir.symbols import expression, finite
from ..runtime.autocast import autocast_off
from .constant_operands import with_numbers_inside
from .declared_ranges import with_inputs
from .exported_program import export_module, unshared
from .module_view import name_modules_like_users, run_with_lines, state_path
from .returned_views import keep_returned_views

_LIMIT_OF_OPERATORS = 1 << 20
"""From here on a largest size that nobody declared is what an operator can take at all, such as 2 ** 24 of `quantile`:
an engine for that is not meant, and takes minutes to build."""


@dataclass(frozen=True)
class Size:
    """A size that varies between calls: `expr` in dynamo's symbols, from `low` to `high` (None: no upper limit)."""

    expr: sympy.Expr
    low: int
    high: int | None


@dataclass(frozen=True)
class GraphInput:
    """One input of a dynamo graph: `index` is its position, `source` dynamo's name for where it comes from.

    `shape` is that of a tensor; `number` the size or whole number that a SymInt stands for, and `constant` the one that
    it turned out to be always.
    """

    index: int
    name: str
    source: str
    shape: tuple[int | Size, ...] | None = None
    number: Size | None = None
    constant: int | None = None


@dataclass(frozen=True)
class Traced:
    """A dynamo graph as a `Program`: `program` takes the inputs at `positions`.

    `constants` are the positions of the tensors in it, and `written` of those among them that it writes to. `limits`
    are the smallest and largest size by position and dimension, and `grows` those whose largest size was chosen here.
    """

    program: Program
    positions: tuple[int, ...]
    constants: tuple[int, ...]
    written: frozenset[int]
    limits: Mapping[tuple[int, int], tuple[int, int]]
    grows: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class DynamoGraph:
    """A graph of PyTorch calls, with inputs for everything that dynamo found: also for parameters and buffers.

    `requires_grad` says that a result does. `autocast` are the device types, and data types, that torch.autocast is on
    for where the graph is called: the graph itself does not say so.
    """

    module: GraphModule
    inputs: tuple[GraphInput, ...]
    requires_grad: bool
    autocast: tuple[tuple[str, torch.dtype], ...]

    @classmethod
    def of(cls, module: GraphModule) -> DynamoGraph:
        """Read dynamo's annotations, which it drops once the backend returns."""
        placeholders = module.graph.find_nodes(op="placeholder")
        names = _argument_names(placeholders)
        inputs = tuple(_input(i, names[i], node) for i, node in enumerate(placeholders))
        results = [node.meta.get("example_value") for node in module.graph.output_node().all_input_nodes]
        requires_grad = any(isinstance(value, torch.Tensor) and value.requires_grad for value in results)
        kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
        return cls(module, inputs, requires_grad, tuple((kind, torch.get_autocast_dtype(kind)) for kind in kinds))

    def without_autocast(self) -> AbstractContextManager[None]:
        """While entered, operators run as they are written, with the casts that autocast made of them."""
        return autocast_off(kind for kind, _ in self.autocast)

    def weights(self, args: Sequence[Any]) -> tuple[int, ...]:
        """Positions of parameters and buffers."""
        return tuple(
            item.index
            for item in self.inputs
            if item.shape is not None and (isinstance(args[item.index], nn.Parameter) or state_path(item.source))
        )

    def trace(self, args: Sequence[Any], constants: Sequence[int]) -> Traced:
        """Export the graph with the arguments of a call, those at the positions `constants` as part of the program.

        Raises:
            UserError: torch.export rejects the graph.
        """
        ranges = _Ranges.of(self.inputs, args)
        sizes = self._sizes()
        taken = [item for item in self.inputs if item.index not in {*constants, *sizes}]
        module = _GraphWithWeights(self, {i: args[i] for i in constants}, [item.index for item in taken], sizes)
        shapes = tuple(ranges.hints(item) for item in taken)
        examples = unshared([args[item.index] for item in taken], [args[index] for index in constants])
        exported = export_module(module, tuple(examples), {}, shapes)
        written = _written(exported)
        tensors = [item for item in taken if item.shape is not None]
        chosen = ranges
        ranges = ranges.within(exported, tensors)
        program = keep_returned_views(
            with_inputs(
                name_modules_like_users(exported), tuple(ranges.declared(item, args[item.index]) for item in tensors)
            )
        )
        dims = [(item.index, dim, size) for item in tensors for dim, size in _dynamic(item)]
        return Traced(
            program,
            tuple(item.index for item in taken),
            tuple(constants),
            frozenset(index for index, path in module.paths.items() if path in written),
            {(index, dim): ranges.of_size(size) for index, dim, size in dims},
            frozenset(
                (index, dim)
                for index, dim, size in dims
                if size.high is None and ranges.of_size(size)[1] == chosen.of_size(size)[1]
            ),
        )

    def _sizes(self) -> dict[int, tuple[int, int]]:
        """For every input that is the size of a tensor, by position: the position of the tensor, and the dimension."""
        found = {size.expr: (item.index, dim) for item in reversed(self.inputs) for dim, size in _dynamic(item)}
        return {i.index: found[i.number.expr] for i in self.inputs if i.number is not None and i.number.expr in found}


class _GraphWithWeights(nn.Module):
    """The graph with some inputs as state, and without those that are sizes of others."""

    def __init__(
        self,
        graph: DynamoGraph,
        constants: Mapping[int, torch.Tensor],
        taken: Sequence[int],
        sizes: Mapping[int, tuple[int, int]],
    ) -> None:
        super().__init__()
        placeholders = graph.module.graph.find_nodes(op="placeholder")
        numbers = {placeholders[i.index].name: i.constant for i in graph.inputs if i.constant is not None}
        self.graph, self._autocast = with_numbers_inside(graph.module, numbers), graph.autocast
        self.paths, self._taken, self._sizes = _registered(self, graph, constants), tuple(taken), dict(sizes)
        names = [graph.inputs[index].name for index in taken]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        # torch.export names a program's inputs after the parameters of `forward`.
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
        self.forward = _signed(self._run, signature)

    def _run(self, *inputs: Any) -> Any:
        values: dict[int, Any] = {index: operator.attrgetter(path)(self) for index, path in self.paths.items()}
        values.update(zip(self._taken, inputs, strict=True))
        values.update({index: values[tensor].shape[dim] for index, (tensor, dim) in self._sizes.items()})
        with ExitStack() as stack:
            for kind, dtype in self._autocast:
                stack.enter_context(torch.autocast(kind, dtype))
            return run_with_lines(self.graph, *(values[index] for index in range(len(values))))


def _registered(module: nn.Module, graph: DynamoGraph, constants: Mapping[int, torch.Tensor]) -> dict[int, str]:
    """The path of every constant in the module, where it is registered under the name that its owner gave it."""
    paths: dict[int, str] = {}
    reserved = set(dir(module))
    for index, tensor in constants.items():
        item = graph.inputs[index]
        path = state_path(item.source) or item.name
        # Two models in one function may use the same name.
        paths[index] = item.name if path in paths.values() or path.split(".")[0] in reserved else path
        with_state(module, paths[index], tensor.detach() if tensor.is_inference() else tensor)
    return paths


def _written(exported: ExportedProgram) -> set[str]:
    """Names of the buffers that a program writes to."""
    if not Program(exported).mutates:
        return set()
    return set(retraced(exported).graph_signature.buffers_to_mutate.values())


def _signed(function: Any, signature: inspect.Signature) -> Any:
    def forward(*args: Any) -> Any:
        return function(*args)

    forward.__signature__ = signature  # type: ignore[attr-defined]
    return forward


@dataclass(frozen=True)
class _Ranges:
    """Smallest and largest value of every size expression, for one set of arguments."""

    known: Mapping[sympy.Expr, tuple[int, int]]

    @classmethod
    def of(cls, inputs: Sequence[GraphInput], args: Sequence[Any]) -> _Ranges:
        known: dict[sympy.Expr, tuple[int, int]] = {}
        dims = [(size, args[item.index].shape[dim]) for item in inputs for dim, size in _dynamic(item)]
        for size, actual in sorted(dims, key=lambda pair: not pair[0].expr.is_Symbol):
            known.setdefault(size.expr, _limits(size, int(actual), known))
        return cls(known)

    def of_size(self, size: Size) -> tuple[int, int]:
        return self.known[size.expr]

    def within(self, exported: ExportedProgram, inputs: Sequence[GraphInput]) -> _Ranges:
        """The ranges, as far as the program is for them.

        Operators decide by sizes, too, and dynamo does not always say so in the ranges that it gives. Arguments of
        other sizes do not fit then, and PyTorch runs the graph.
        """
        tensors = [node for node in Program(exported).user_inputs if isinstance(node.meta.get("val"), torch.Tensor)]
        if len(tensors) != len(inputs):
            return self
        pairs = [
            (size, expression(tensor.meta["val"].shape[dim]))
            for item, tensor in zip(inputs, tensors, strict=True)
            for dim, size in _dynamic(item)
        ]
        known = dict(self.known)
        for size, found in pairs:
            known[size.expr] = _both(known[size.expr], _allowed(exported, found))
        for _, found in pairs:
            # What the program takes for one size has one range.
            one = [size.expr for size, other in pairs if other == found]
            limits = functools.reduce(_both, (known[expr] for expr in one))
            known.update(dict.fromkeys(one, limits))
        return _Ranges(known)

    def hints(self, item: GraphInput) -> Any:
        """What `dynamic_shapes` of torch.export says about an input."""
        if item.number is not None:
            return Dim.AUTO
        limits = {dim: self.of_size(size) for dim, size in _dynamic(item)}
        return {dim: Dim.AUTO(min=low, max=high) for dim, (low, high) in limits.items()} or None

    def declared(self, item: GraphInput, tensor: torch.Tensor) -> Input:
        """The input as declared to the pipeline; the sizes of `tensor` are the usual ones."""
        low, high = list(tensor.shape), list(tensor.shape)
        for dim, size in _dynamic(item):
            low[dim], high[dim] = self.of_size(size)
        return Input(min_shape=low, opt_shape=tensor.shape, max_shape=high, dtype=tensor.dtype, name=item.name)


def _allowed(exported: ExportedProgram, size: Any) -> tuple[int, int | None]:
    """The smallest and the largest value of a size of a program; None for no largest."""
    if isinstance(size, int):
        return size, size
    limits = exported.range_constraints.get(size)
    if limits is None:
        return 0, None
    low = finite(limits.lower)
    # torch.export assumes sizes of at least 2 while tracing, which is no limit of the model's.
    return (0 if low is None or low <= 2 else low), finite(limits.upper)


def _both(one: tuple[int, int], other: tuple[int, int | None]) -> tuple[int, int]:
    low, high = max(one[0], other[0]), one[1] if other[1] is None else min(one[1], other[1])
    return (low, high) if low <= high else one


def _limits(size: Size, actual: int, known: Mapping[sympy.Expr, tuple[int, int]]) -> tuple[int, int]:
    if size.expr.free_symbols and size.expr.free_symbols <= set(known):
        ends = [
            int(size.expr.xreplace({s: sympy.Integer(known[s][i]) for s in size.expr.free_symbols})) for i in (0, 1)
        ]
        return min(*ends, actual), max(*ends, actual)
    # TensorRT needs a largest size. Room for growth, so that a slowly growing input does not build an engine each time.
    high = size.high if size.high is not None else 1 << (2 * actual - 1).bit_length()
    return min(size.low, actual), max(high, actual)


def _dynamic(item: GraphInput) -> list[tuple[int, Size]]:
    return [(dim, size) for dim, size in enumerate(item.shape or ()) if isinstance(size, Size)]


def _input(index: int, name: str, node: Node) -> GraphInput:
    source, value = _source(node), node.meta.get("example_value")
    if isinstance(value, torch.Tensor):
        declared = _declared_dims(node)
        shape = tuple(
            _size(size, dim in declared) if isinstance(size, torch.SymInt) else size
            for dim, size in enumerate(value.shape)
        )
        return GraphInput(index, name, source, shape=shape)
    number = _size(value) if isinstance(value, torch.SymInt) else None
    if isinstance(number, int):
        return GraphInput(index, name, source, constant=number)
    return GraphInput(index, name, source, number=number)


def _source(node: Node) -> str:
    name = getattr(getattr(node, "_dynamo_source", None), "name", "")
    return str(name() if callable(name) else name)


def _declared_dims(node: Node) -> set[int]:
    """The dimensions of an input that `mark_dynamic` gave a range."""
    example = getattr(node.meta.get("grapharg"), "example", None)
    return {limits.dim for limits in getattr(example, "_dynamo_dynamic_range", ()) if limits.max is not None}


def _size(size: torch.SymInt, declared: bool = True) -> Size | int:
    expr = size.node.expr
    if expr.is_Integer:
        return int(expr)
    bounds = size.node.shape_env.bound_sympy(expr)
    if bounds is None:  # the rows of a nested tensor, each of which has a size of its own
        return Size(expr, 0, None)
    low, high = (int(bound) if bound.is_Integer else None for bound in (bounds.lower, bounds.upper))
    if high is not None and high >= _LIMIT_OF_OPERATORS and not declared:
        high = None
    return Size(expr, max(1, low or 1), high)


def _argument_names(placeholders: Sequence[Node]) -> list[str]:
    """Names for people, such as "mask" for what dynamo calls "l_mask_"; dynamo's own where two would be the same.

    Methods of the graph's modules have a `self` already, which an argument named `self_` would be shown as.
    """
    owned = [state_path(_source(node)) for node in placeholders]
    short = [
        path.replace(".", "_") if path else re.sub(r"^[lg]_(?=.)|_$", "", node.name.lower())
        for node, path in zip(placeholders, owned, strict=True)
    ]
    return [
        name
        if short.count(name) == 1 and name.isidentifier() and not (iskeyword(name) or name in {*HIDING_NAMES, "self"})
        else node.name
        for name, node in zip(short, placeholders, strict=True)
    ]
