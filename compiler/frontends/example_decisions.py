"""Models that decide by values of tensors: followed where the example inputs lead, with checks in the graph.

torch.export cannot follow `if mask.any():`, `int(tensor)` as a size, or a loop over what `nonzero` found. Here every
number that Python asks a tensor for is the one that the examples give, and an `aten._assert_scalar` in the graph holds
that it is so. Numbers that come from constants alone (sizes computed by tensors of buffers, a cumulative sum of a list)
are the same in every call, and need no check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..ir.decisions import as_decision, is_always_so, line_of

_CHECK = "a value is that of the examples"
_LARGEST_LIST = 4096
"""Elements of a tensor that may become a list of Python's."""


@contextmanager
def values_of_examples() -> Iterator[None]:
    """While entered, torch.export computes with the examples too, and numbers that Python asks for are theirs."""
    import torch._functorch.config as config

    propagated = config.patch(fake_tensor_propagate_real_tensors=True)
    with propagated, _parameters_copied(), _written_once(), _NumbersOfExamples():
        yield


@contextmanager
def _parameters_copied() -> Iterator[None]:
    """While entered, PyTorch computes with the numbers of parameters: it copies those of plain tensors only."""
    from torch._subclasses import meta_utils

    original = meta_utils._safe_copy

    def copied(destination: torch.Tensor, source: torch.Tensor | None) -> None:
        original(destination, source.data if isinstance(source, torch.nn.Parameter) else source)

    setattr(meta_utils, "_safe_copy", copied)  # noqa: B010  (mypy takes functions for final)
    try:
        yield
    finally:
        setattr(meta_utils, "_safe_copy", original)  # noqa: B010


@contextmanager
def _written_once() -> Iterator[None]:
    """While entered, an operator that writes to a tensor does so once to the example's, too.

    PyTorch runs it there, and then again what it is made of, if it is made of others: `index_add_` would add twice.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    original = FakeTensorMode._dispatch_impl

    def dispatched(mode: Any, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if not (mode.propagate_real_tensors and func._schema.is_mutable):
            return original(mode, func, types, args, kwargs)
        written = _written_by(func, args, kwargs)
        result = original(mode, func, types, args, kwargs)
        for real, values in written:
            if real.shape == values.shape:  # it may have been resized
                real.copy_(values)
        return result

    setattr(FakeTensorMode, "_dispatch_impl", dispatched)  # noqa: B010  (mypy takes functions for final)
    try:
        yield
    finally:
        setattr(FakeTensorMode, "_dispatch_impl", original)  # noqa: B010


def _written_by(func: Any, args: Any, kwargs: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The tensors of the example that a call writes to, each with what it has there afterwards.

    None where that cannot be tried on copies: what is random, or with examples unknown.
    """
    from torch._subclasses.fake_tensor import FakeTensor

    leaves, spec = pytree.tree_flatten((args, kwargs))
    if torch.Tag.nondeterministic_seeded in func.tags or any(isinstance(leaf, torch.SymInt) for leaf in leaves):
        return []
    fakes = [leaf for leaf in leaves if isinstance(leaf, FakeTensor)]
    reals = {id(fake): fake.real_tensor for fake in fakes if fake.real_tensor is not None}
    if len(reals) < len({id(fake) for fake in fakes}):
        return []
    copies = {key: real.clone() for key, real in reals.items()}
    tried = pytree.tree_unflatten([copies.get(id(leaf), leaf) for leaf in leaves], spec)
    try:
        func(*tried[0], **tried[1])
    except Exception:
        return []  # it fails in PyTorch's own run, too
    return [(reals[key], copy) for key, copy in copies.items() if not _same_bits(reals[key], copy)]


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


class _NumbersOfExamples(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        read = _READS.get(func)
        values = _values(args[0]) if read is not None and len(args) == 1 else None
        if read is not None and values is not None:
            return read(args[0], values)
        if func in _PLACES and len(args) == 1:
            found = _places(args[0])
            if found is not None:
                return found.unbind(1) if func is torch.where or (kwargs or {}).get("as_tuple") else found
        if func in _REPEATS:
            repeated = _repeated(*args, **(kwargs or {}))
            if repeated is not None:
                return repeated
        if func in _INDEXED:
            args = (args[0], _plain_index(args[1], func is torch.Tensor.__getitem__), *args[2:])
        elif func in _SIZED_TENSORS:
            args = (args[0], *_plain(args[1:]))
        elif func in _SIZED:
            args = _plain(args)
        return func(*args, **(_plain(kwargs or {}) if func in _SIZED else kwargs or {}))


def _item(tensor: torch.Tensor, values: Any) -> Any:
    return tensor.item() if _is_float(tensor) else _checked(tensor == _only(values), _only(values))


def _bool(tensor: torch.Tensor, values: Any) -> bool:
    value = bool(_only(values))
    return bool(_checked(tensor != 0 if value else tensor == 0, value))


def _int(tensor: torch.Tensor, values: Any) -> int:
    value = int(_only(values))
    return int(_checked(tensor.to(torch.int64) == value, value))


def _list(tensor: torch.Tensor, values: Any) -> Any:
    if _is_float(tensor):
        return tensor.tolist()
    return _checked(tensor == torch.tensor(values, dtype=tensor.dtype, device=tensor.device), values)


def _checked(condition: torch.Tensor, value: Any) -> Any:
    torch.ops.aten._assert_scalar.default(condition.all().to(torch.int64).item() == 1, _CHECK)
    return value


def _only(values: Any) -> Any:
    while isinstance(values, list):
        (values,) = values
    return values


_READS: Mapping[Any, Callable[[torch.Tensor, Any], Any]] = MappingProxyType(
    {
        torch.Tensor.item: _item,
        torch.Tensor.__bool__: _bool,
        torch.Tensor.__int__: _int,
        torch.Tensor.__index__: _int,
        torch.Tensor.tolist: _list,
    }
)
"""What Python asks a tensor for, and how it is answered and checked."""

_PLACES = frozenset({torch.nonzero, torch.Tensor.nonzero, torch.argwhere, torch.Tensor.argwhere, torch.where})
"""Functions that, with one argument, return where it is not zero."""

_REPEATS = frozenset({torch.repeat_interleave, torch.Tensor.repeat_interleave})
"""Functions whose result has as many elements as the numbers in a tensor add up to."""

_INDEXED = frozenset({torch.Tensor.__getitem__, torch.Tensor.__setitem__})

_SIZED = frozenset(
    {
        *(
            torch.arange,
            torch.zeros,
            torch.ones,
            torch.empty,
            torch.full,
            torch.linspace,
            torch.eye,
            torch.tril_indices,
        ),
        *(torch.rand, torch.randn, torch.triu_indices),
    }
)
"""Functions that make numbers of all the tensors that they are given."""

_SIZED_TENSORS = frozenset(
    {
        *(torch.nn.functional.pad, torch.narrow, torch.reshape, torch.select, torch.split, torch.roll),
        *(torch.broadcast_to, torch.unflatten, torch.tile, torch.chunk),
        *(torch.Tensor.view, torch.Tensor.reshape, torch.Tensor.expand, torch.Tensor.repeat, torch.Tensor.narrow),
        *(torch.Tensor.select, torch.Tensor.split, torch.Tensor.unflatten, torch.Tensor.new_zeros, torch.Tensor.tile),
        *(torch.Tensor.new_ones, torch.Tensor.new_empty, torch.Tensor.new_full, torch.Tensor.roll),
    }
)
"""Likewise, of all but the first."""


def _is_float(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _places(tensor: torch.Tensor) -> torch.Tensor | None:
    """Where a tensor is not zero: as many places as in the example."""
    real = _real(tensor)
    if real is None or tensor.dim() == 0:
        return None
    count = _outside(lambda: int(real.count_nonzero()))
    _checked((tensor != 0).sum() == count, count)
    return torch.nonzero_static(tensor, size=count)


def _repeated(
    tensor: torch.Tensor, repeats: Any = None, dim: int | None = None, *, output_size: Any = None
) -> torch.Tensor | None:
    """`torch.repeat_interleave` with as many elements as in the example; None if the numbers are not known."""
    counts = tensor if repeats is None else repeats
    real = _real(counts) if isinstance(counts, torch.Tensor) else None
    if real is None or output_size is not None:
        return None
    tensor, dim = (tensor.flatten(), 0) if dim is None else (tensor, dim)
    total = _outside(lambda: int(real.sum()))
    if repeats is not None and real.numel() == 1:
        counts, total = counts.reshape(1).expand(tensor.shape[dim]), total * tensor.shape[dim]
    _checked((counts.sum() == total) & (counts >= 0).all(), total)
    # Each element of the result comes from as many places behind the first as runs of repeated ones end before it.
    places = torch.searchsorted(counts.cumsum(0), torch.arange(total, device=counts.device), right=True)
    return places if repeats is None else tensor.index_select(dim, places)


def _plain_index(index: Any, is_read: bool) -> Any:
    """An index whose slices have numbers for bounds, not tensors; where values are read, with places for masks."""
    if isinstance(index, tuple):
        return tuple(_plain_index(each, False) for each in index)
    if isinstance(index, slice):
        return slice(*(_number(bound) for bound in (index.start, index.stop, index.step)))
    is_mask = is_read and isinstance(index, torch.Tensor) and index.dtype is torch.bool
    found = _places(index) if is_mask else None
    return index if found is None else found.unbind(1)


def _plain(arguments: Any) -> Any:
    """Arguments with numbers for tensors of one integer."""
    if isinstance(arguments, tuple | list):
        return type(arguments)(map(_plain, arguments))
    if isinstance(arguments, dict):
        return {name: _plain(value) for name, value in arguments.items()}
    is_number = isinstance(arguments, torch.Tensor) and arguments.dim() == 0 and not _is_float(arguments)
    return _number(arguments) if is_number else arguments


def _number(bound: Any) -> Any:
    values = _values(bound) if isinstance(bound, torch.Tensor) and bound.numel() == 1 else None
    return bound if values is None else _int(bound, values)


def _values(tensor: torch.Tensor) -> Any:
    """What the examples make of a tensor that is traced, as a number or lists of such; None if that is not known."""
    real = _real(tensor)
    return None if real is None or real.numel() > _LARGEST_LIST else _outside(real.tolist)


def _real(tensor: torch.Tensor) -> torch.Tensor | None:
    from torch._subclasses.fake_tensor import FakeTensor
    from torch._subclasses.functional_tensor import FunctionalTensor

    if isinstance(tensor, FunctionalTensor):
        tensor = tensor.from_functional()
    real = tensor.real_tensor if isinstance(tensor, FakeTensor) else None
    return real if isinstance(real, torch.Tensor) else None


def _outside(function: Callable[[], Any]) -> Any:
    """The result of a function that is not traced."""
    from torch.utils._python_dispatch import _disable_current_modes

    with _disable_current_modes():
        return function()


# --- the checks in the graph -----------------------------------------------------------------------------------------
def with_decisions(exported: ExportedProgram, is_wanted: bool) -> ExportedProgram:
    """The program, exported with `values_of_examples`, whose checks of values say what they are.

    Checks of what is the same in every call are gone.

    Raises:
        UserError: it decides by values of its inputs or of what it writes to, and that is not wanted.
    """
    graph, varying = exported.graph, _varying(exported)
    checks = list(graph.find_nodes(op="call_function", target=torch.ops.aten._assert_scalar.default))
    compared = {_compared(node) for node in checks if node.args[1] == _CHECK}
    for node in checks:
        if node.args[1] != _CHECK and (_compared(node) in compared or is_always_so(node)):
            continue  # says no more than the check itself, or nothing
        if not varying.intersection(node.all_input_nodes):
            graph.erase_node(node)
        elif is_wanted:
            as_decision(node, line_of(node))
        else:
            raise NotWanted(line_of(node))
    exported.graph_module.recompile()
    _forget_examples(exported)
    return exported


def _forget_examples(exported: ExportedProgram) -> None:
    """Free the examples' values, which PyTorch would go on computing with in every pass that makes a fake tensor.

    It would copy constants, too, and it cannot copy those that are expanded.
    """
    from torch._subclasses.fake_tensor import FakeTensor

    for node in exported.graph.nodes:
        for leaf in pytree.tree_leaves(node.meta.get("val")):
            if isinstance(leaf, FakeTensor):
                leaf.real_tensor = None
                mode, converter = leaf.fake_mode, leaf.fake_mode.fake_tensor_converter.meta_converter
                mode.propagate_real_tensors = converter.copy_data = converter.describer.copy_data = False


def _compared(node: Node) -> Node | None:
    """The number that a check compares."""
    (condition,) = node.all_input_nodes or (None,)
    return next(iter(condition.all_input_nodes), None) if condition is not None else None


class NotWanted(UserError):
    """The model decides by values of its inputs."""

    def __init__(self, line: str | None, reason: str = "") -> None:
        self.line = line
        place = f" at {line}" if line else ""
        why = f" ({reason})" if reason else ""
        super().__init__(
            f"the model decides by a value of a tensor{place}, which torch.export cannot follow: use torch.cond or "
            "torch.where there, or ir='torch_compile', which leaves that to Python, or decide_by_examples=True, which "
            f"compiles what it does on the example inputs, and checks in every call that it would do the same{why}."
        )


def _varying(exported: ExportedProgram) -> set[Node]:
    """The nodes whose values may differ between two calls."""
    written = {*exported.graph_signature.buffers_to_mutate.values()}
    constant = {
        spec.arg.name
        for spec in exported.graph_signature.input_specs
        if spec.kind is not InputKind.USER_INPUT and spec.target not in written and hasattr(spec.arg, "name")
    }
    nodes = list(exported.graph.nodes)
    varying = {node for node in nodes if _is_random(node) or (node.op == "placeholder" and node.name not in constant)}
    varying.update(root for node in nodes if _writes(node) for root in _written(node) if root.op == "placeholder")
    known = -1
    while known != len(varying):  # a node may be written to after it was read
        known = len(varying)
        for node in nodes:
            if varying.intersection(node.all_input_nodes):
                varying.update((node, *(_written(node) if _writes(node) else ())))
    return varying


def _is_random(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def _writes(node: Node) -> bool:
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or torch.Tag.inplace_view in target.tags:
        return False
    return target._schema.is_mutable


def _written(node: Node) -> Iterator[Node]:
    """The tensor that an operator works on in place, and what that may be a view of."""
    while node.all_input_nodes:
        node = node.all_input_nodes[0]
        yield node
