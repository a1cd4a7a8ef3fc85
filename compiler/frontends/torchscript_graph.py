"""The graph that PyTorch's converter makes of TorchScript, with sizes that stay symbolic when it is exported."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch._export.converter import TS2EPConverter, TS2FXGraphConverter, get_block_to_lifted_attrs
from torch._export.passes.replace_quantized_ops_with_standard_ops_pass import replace_quantized_ops_with_standard_ops
from torch._higher_order_ops.cond import cond_op
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from ..errors import UserError
from ..inputs import as_input, declares_input
from ..ir.input import Input
from .given_arguments import is_declared

_ON_NUMBERS = MappingProxyType(
    {
        "aten::add": operator.add,
        "aten::sub": operator.sub,
        "aten::mul": operator.mul,
        "aten::floordiv": operator.floordiv,
        "aten::div": operator.truediv,
        "aten::remainder": operator.mod,
        "aten::neg": operator.neg,
        "aten::eq": operator.eq,
        "aten::ne": operator.ne,
        "aten::lt": operator.lt,
        "aten::le": operator.le,
        "aten::gt": operator.gt,
        "aten::ge": operator.ge,
    }
)
"""Operators that take a symbolic size for a number, which fixes it, and the functions that keep it symbolic."""

_CONSTANT = "lifted_tensor_"
_BLOCKS = ("prim::If", "prim::Loop")
_NUMBERS = frozenset({"int", "float", "bool", "number", "Scalar"})


def converted_graph(script: torch.jit.ScriptModule, args: tuple[Any, ...], sizes: DeclaredSizes) -> GraphModule:
    """The calls of a TorchScript module as an fx graph.

    Args:
        script: the module, without optional arguments.
        args: examples of all its arguments.
        sizes: decides what depends on sizes when the graph is exported.
    """
    source = TS2EPConverter(script, args)
    lifted, names = get_block_to_lifted_attrs(source.ts_graph)
    converter = _Converter(
        source.ts_graph,
        source.name_to_param,
        source.name_to_buffer,
        lifted,
        source.name_to_non_tensor_attributes,
        source.name_to_constant,
        names,
    )
    module = converter.convert()
    replace_quantized_ops_with_standard_ops(module)
    for part in (part for part in module.modules() if isinstance(part, GraphModule)):
        for node in part.graph.nodes:
            if node.op == "call_function":
                node.target = _on_symbols(node, sizes)
        part.recompile()
    _unregister(module)
    return module.eval()


class Unconverted(Exception):
    """The converter does not take a node of the outermost block of TorchScript; `place` is the line it comes from."""

    def __init__(self, place: str) -> None:
        self.place = place
        super().__init__(place)


class _Converter(TS2FXGraphConverter):
    def convert_node(self, node: Any) -> None:
        try:
            super().convert_node(node)
        except Exception as error:
            raise Unconverted(_place(node)) from error


def layer_at(script: nn.Module, place: str) -> tuple[str, Any] | None:
    """The innermost layer of a TorchScript module whose code has a line (see `Unconverted`), and its path."""
    found = None
    for path, layer in script.named_modules():
        graph = getattr(getattr(layer, "forward", None), "inlined_graph", None)
        if graph is not None and any(_place(node) == place for kind in _BLOCKS for node in graph.findAllNodes(kind)):
            found = path, layer
    return found


def _place(node: Any) -> str:
    lines: list[str] = str(node.sourceRange()).strip().splitlines()
    return lines[0] if lines else ""


def run_graph(module: GraphModule, *args: Any) -> Any:
    """The results of a graph that `converted_graph` made; what its calls raise is raised as it is."""
    interpreter = Interpreter(module)
    interpreter.extra_traceback = False
    return interpreter.run(*args)


def _on_symbols(node: Node, sizes: DeclaredSizes) -> Any:
    """What a node calls, or a function that does the same and leaves sizes symbolic."""
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload):
        kinds = {str(argument.type) for argument in target._schema.arguments}
        if kinds <= _NUMBERS:
            return _ON_NUMBERS.get(target._schema.name, target)
        if kinds == {"List[int]"}:
            return _ON_SIZES.get(target._schema.name, target)
    own: dict[Any, Any] = {
        torch.cond: sizes.branch,
        torch.ops.aten._to_copy.default: _copied,
        torch.ops.aten._local_scalar_dense.default: _whole_number,
        torch.ops.aten.list.t: list,
        torch.ops.aten.lstm.input: _recurrent(torch.lstm),
        torch.ops.aten.gru.input: _recurrent(torch.gru),
        torch.ops.aten.rnn_tanh.input: _recurrent(torch.rnn_tanh),
        torch.ops.aten.rnn_relu.input: _recurrent(torch.rnn_relu),
        operator.contains: sizes.contains,
        operator.not_: _negated,
        max: _largest,
        min: _least,
        len: _length,
    }
    if target.__name__ == "to_float_tensor":
        return _number
    if "<locals>" in getattr(target, "__qualname__", ""):
        return _importable(target)
    return own.get(target, target)


def _recurrent(function: Callable[..., Any]) -> Callable[..., Any]:
    """A recurrent layer's function, which `WholeRecurrentLayers` replaces, for the arguments of the operator."""

    def call(input: torch.Tensor, hidden: Any, weights: Sequence[torch.Tensor], *options: Any) -> Any:
        state = hidden if isinstance(hidden, torch.Tensor) else list(hidden)
        biases, layers, dropout, *flags = options
        return function(input, state, list(weights), bool(biases), int(layers), float(dropout), *map(bool, flags))

    return call


def _importable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of PyTorch's that fx would look for in its module, where it is not."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


def _unregister(module: GraphModule) -> None:
    """Constants of the code as plain attributes, since they are no buffers of the model."""
    for path, part in module.named_modules():
        for name in list(part._buffers):
            if f"{path}.{name}".lstrip(".").startswith(_CONSTANT):
                object.__setattr__(part, name, part._buffers.pop(name))


# --- what the graph calls ------------------------------------------------------------------------------------------
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

    def branch(self, predicate: Any, chosen: GraphModule, other: GraphModule, operands: tuple[Any, ...]) -> Any:
        """An `if`: both branches where a tensor decides, else the one that all declared sizes take.

        Where one branch raises, the other is taken.

        Raises:
            UserError: some of the declared sizes take the one and some the other.
        """
        if isinstance(predicate, torch.Tensor) and torch.compiler.is_exporting():
            return _both(predicate, chosen, other, operands)
        if not (_raises(chosen) or _raises(other)):
            predicate = self.decided(predicate)
        return run_graph(chosen if predicate else other, *operands)

    def contains(self, items: Any, value: Any) -> bool:
        """`value in items`."""
        return any(self.decided(value == item) for item in items) if isinstance(value, torch.SymInt) else value in items

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


def _both(predicate: torch.Tensor, chosen: GraphModule, other: GraphModule, operands: Any) -> Any:
    """torch.cond of two graphs, which dynamo cannot trace: they may decide on sizes themselves."""
    leaves, spec = pytree.tree_flatten(operands)
    traced = [index for index, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor | torch.SymInt)]
    structures = []

    def flat(graph: GraphModule) -> Callable[..., tuple[Any, ...]]:
        def call(*values: Any) -> tuple[Any, ...]:
            given = dict(zip(traced, values, strict=True))
            whole = [given.get(index, leaf) for index, leaf in enumerate(leaves)]
            results, structure = pytree.tree_flatten(run_graph(graph, *pytree.tree_unflatten(whole, spec)))
            structures.append(structure)
            return tuple(results)

        return call

    results = cond_op(predicate, flat(chosen), flat(other), tuple(leaves[index] for index in traced))
    return pytree.tree_unflatten(list(results), structures[-1])


def _raises(module: GraphModule) -> bool:
    return any("RaiseException" in str(node.target) for node in module.graph.nodes if node.op == "call_function")


def _number(value: Any) -> Any:
    to_float: Any = torch.sym_float
    return value.to(torch.float32).item() if isinstance(value, torch.Tensor) else to_float(value)


def _copied(value: Any, **kwargs: Any) -> Any:
    return torch.ops.aten._to_copy.default(value, **kwargs) if isinstance(value, torch.Tensor) else value


def _whole_number(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.ops.aten._local_scalar_dense.default(value)
    to_int: Any = torch.sym_int
    return to_int(value)


def _negated(value: Any) -> Any:
    negation: Any = torch.sym_not
    return negation(value) if isinstance(value, torch.SymBool) else not value


def _largest(*values: Any) -> Any:
    return functools.reduce(torch.sym_max, _items(values))


def _least(*values: Any) -> Any:
    return functools.reduce(torch.sym_min, _items(values))


def _items(values: tuple[Any, ...]) -> Sequence[Any]:
    items: Sequence[Any] = values[0] if len(values) == 1 else values
    return items


def _length(value: Any) -> Any:
    return value.size(0) if isinstance(value, torch.Tensor) else len(value)


def _equal(first: Sequence[Any], second: Sequence[Any]) -> bool:
    return tuple(first) == tuple(second)


def _unequal(first: Sequence[Any], second: Sequence[Any]) -> bool:
    return not _equal(first, second)


_ON_SIZES = MappingProxyType({"aten::eq": _equal, "aten::ne": _unequal})
"""Operators on lists of sizes, likewise."""
