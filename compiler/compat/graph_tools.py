"""Small functions on graphs and on what tracing recorded of their tensors, of `torch_tensorrt.dynamo.utils`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from .enums import dtype as DType
from .input import Input
from .mistakes import InvalidType, InvalidValue
from .tools import get_torch_inputs

_LARGEST = 1 << 16
"""What stands for the largest of sizes without a limit."""


def range_of(size: Any) -> tuple[int, int, int]:
    """The smallest, usual and largest value of a size; a number is all of them."""
    if isinstance(size, int):
        return size, size, size
    bounds = size.node.shape_env.bound_sympy(size.node.expr)
    low, high = (int(bound) if bound.is_finite else _LARGEST for bound in (bounds.lower, bounds.upper))
    return max(low, 0), min(max(size.node.hint or low, low), high), high


def contains_sym_int(tensor: torch.Tensor) -> bool:
    """Whether sizes of a tensor vary."""
    return any(not isinstance(size, int) for size in tensor.shape)


def extract_var_range_info(symbolic_integer: torch.SymInt) -> dict[str, int]:
    """The values that a size may have, by "min", "opt" and "max"."""
    return dict(zip(("min", "opt", "max"), range_of(symbolic_integer), strict=True))


def unwrap_tensor_shape(tensor: Any, mode: str | None = "") -> tuple[Any, ...]:
    """The sizes of a tensor, or of a size itself: `(smallest, largest)` of those that vary.

    Args:
        tensor: a tensor, or a SymInt.
        mode: "min_shape", "opt_shape" or "max_shape", for one number in place of each range.
    """
    if isinstance(tensor, torch.Tensor):
        return tuple(_sizes(size, mode) for size in tensor.shape)
    if isinstance(tensor, torch.SymInt):
        return (_sizes(tensor, mode),)
    if isinstance(tensor, bool | int | float):
        return (1,)
    raise InvalidType(f"a {type(tensor).__name__} has no shape: give a tensor or a size.")


def _sizes(size: Any, mode: str | None) -> Any:
    low, usual, high = range_of(size)
    if mode:
        corners = {"min_shape": low, "opt_shape": usual, "max_shape": high}
        if mode not in corners:
            raise InvalidValue(f"mode is {mode!r}: give one of {', '.join(corners)}.")
        return corners[mode]
    return size if isinstance(size, int) else (low, high)


def unwrap_tensor_dtype(tensor: Any) -> torch.dtype:
    """The type of a tensor; int64 for sizes and whole numbers, float32 for others, bool for truths."""
    if isinstance(tensor, torch.Tensor):
        return tensor.dtype
    for kinds, found in (((bool, torch.SymBool), torch.bool), ((int, torch.SymInt), torch.int64)):
        if isinstance(tensor, kinds):
            return found
    if isinstance(tensor, float | torch.SymFloat):
        return torch.float32
    raise InvalidType(f"a {type(tensor).__name__} has no data type: give a tensor or a number.")


def get_graph_io_attrs(io_nodes: Sequence[Node], attr_type: str) -> list[Any]:
    """The shapes ("shape") or types ("dtype") of what nodes give, by what tracing recorded."""
    if attr_type not in ("shape", "dtype"):
        raise InvalidValue(f"attr_type is {attr_type!r}: give 'shape' or 'dtype'.")
    read = unwrap_tensor_shape if attr_type == "shape" else unwrap_tensor_dtype
    return [
        value if value is None else read(value)
        for node in io_nodes
        for value in pytree.tree_leaves(node.meta.get("val"))
    ]


def get_output_dtypes(output: Any, truncate_double: bool = False) -> list[DType]:
    """The types of what a graph's output node, or nodes in containers, give.

    Args:
        output: the node, or nodes.
        truncate_double: whether float64 becomes float32.
    """
    found = []
    for node in flatten_nodes(output.args[0] if isinstance(output, Node) and output.op == "output" else output):
        for value in pytree.tree_leaves(node.meta.get("val")):
            kind = unwrap_tensor_dtype(value)
            found.append(DType._from(torch.float32 if truncate_double and kind is torch.float64 else kind))
    return found


def flatten_nodes(nodes: Any) -> list[Node]:
    """The nodes in containers, in order."""
    return [leaf for leaf in pytree.tree_leaves(nodes) if isinstance(leaf, Node)]


def get_metadata(gm: GraphModule, target_op: Any) -> list[Mapping[str, Any]]:
    """What tracing recorded of every call of an operator."""
    return [node.meta for node in gm.graph.nodes if node.target == target_op]


def set_metadata(gm: GraphModule, target_op: Any, metadata: Sequence[Mapping[str, Any]]) -> None:
    """Set what tracing recorded of every call of an operator.

    Raises:
        ValueError: there are not as many calls.
    """
    nodes = [node for node in gm.graph.nodes if node.target == target_op]
    if len(nodes) != len(metadata):
        raise InvalidValue(f"{target_op} is called {len(nodes)} times, and metadata has {len(metadata)} items.")
    for node, meta in zip(nodes, metadata, strict=True):
        node.meta = dict(meta)


def get_flat_args_with_check(exported_program: Any, args: Any, kwargs: Any) -> tuple[list[Any], Any]:
    """Arguments as a flat list, with their structure.

    Raises:
        ValueError: the structure is not that of the program.
    """
    flat, found = pytree.tree_flatten((tuple(args), dict(kwargs)))
    wanted = exported_program.call_spec.in_spec
    if wanted is not None and found != wanted:
        raise InvalidValue(f"the program takes arguments of the structure {wanted}, not {found}.")
    return flat, found


def construct_dynamic_input(
    input_shape: Iterable[Any], input_dtype: torch.dtype, name: str = "", is_shape_tensor: bool = False
) -> Input:
    """The `Input` of sizes of which some vary."""
    corners = zip(*map(range_of, input_shape), strict=True)
    shapes = dict(zip(("min_shape", "opt_shape", "max_shape"), corners, strict=True))
    return Input(**shapes, dtype=input_dtype, name=name, is_shape_tensor=is_shape_tensor)


def get_input(input_shape: Iterable[Any], dtype: torch.dtype, name: str = "", is_shape_tensor: bool = False) -> Input:
    """The `Input` of some sizes: static, if none of them varies."""
    sizes = tuple(input_shape)
    if all(isinstance(size, int) for size in sizes):
        return Input(sizes, dtype=dtype, name=name, is_shape_tensor=is_shape_tensor)
    return construct_dynamic_input(sizes, dtype, name, is_shape_tensor)


def run_shape_analysis(
    parent_module: GraphModule, inputs: Sequence[Any], kwarg_inputs: Mapping[str, Any] | None = None
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """The shapes that every submodule takes and gives, by its name, found by running the graph on examples.

    Args:
        parent_module: a graph that calls submodules.
        inputs: its inputs: tensors, or `Input`s, of which examples of the usual shape are made.
        kwarg_inputs: likewise, by name.
    """
    device = torch.device("cpu")
    examples = get_torch_inputs(list(inputs), device)
    named = get_torch_inputs(dict(kwarg_inputs or {}), device)
    found = _Shapes(parent_module)
    with torch.no_grad():
        names = [str(node.target) for node in parent_module.graph.find_nodes(op="placeholder")]
        found.run(*examples, *(named[name] for name in names[len(examples) :] if name in named))
    return found.given, found.made


class _Shapes(Interpreter):
    """Runs a graph, and remembers the shapes at the borders of its submodules."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.given: dict[str, list[Any]] = {}
        self.made: dict[str, list[Any]] = {}

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        result = super().call_module(target, args, kwargs)
        for shapes, values in ((self.given, (args, kwargs)), (self.made, result)):
            shapes[target] = [
                tuple(leaf.shape) for leaf in pytree.tree_leaves(values) if isinstance(leaf, torch.Tensor)
            ]
        return result
