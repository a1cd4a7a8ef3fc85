"""Which parts of a matrix product's result are heads of attention, followed through views of it."""

from __future__ import annotations

import itertools
import operator
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

import torch
from torch.fx import Node

from ...compiler.ir.symbols import same_size
from .layout import Layout, Mode
from .values import tensor_of

aten = torch.ops.aten


@dataclass(frozen=True)
class Heads:
    """A value that is some heads of a product [outer, inner, heads * size], its dimensions in any order.

    Attributes:
        node: the value, of four dimensions.
        rows: the sizes outer and inner.
        order: for each dimension its place in [outer, inner, heads, size].
        first: the first head.
        count: how many there are.
        size: elements of one head.
        scalings: multiplications and divisions by numbers, in the order in which the value went through them.
    """

    node: Node
    rows: tuple[Any, Any]
    order: tuple[int, ...]
    first: int
    count: int
    size: int
    scalings: tuple[Node, ...]


@dataclass(frozen=True)
class _View:
    """A value of the graph: where its elements lie in the product, and how they were scaled on the way."""

    node: Node
    layout: Layout
    scalings: tuple[Node, ...] = ()


def heads_of(product: Node, start: Layout) -> list[Heads] | None:
    """What the graph reads of a product, if all of it is heads; None otherwise.

    Args:
        product: a node whose value is a tensor.
        start: where its elements lie in the product [outer, inner, heads * size].
    """
    found = []
    for view in _read_views(_View(product, start)):
        heads = _heads(view, columns=start.shape[-1])
        if any(user.target is aten.as_strided.default for user in view.node.users):
            return None  # what it reads depends on the layout
        if heads is None or not same_size(prod(heads.rows), prod(start.shape[:-1])):
            return None
        found.append(heads)
    return found


def _read_views(start: _View) -> Iterator[_View]:
    """The product and its views, as far as something else than a view reads them."""
    waiting = deque([start])
    while waiting:
        view = waiting.popleft()
        following = [_following(user, view) for user in view.node.users]
        waiting += itertools.chain.from_iterable(item for item in following if item is not None)
        if None in following:
            yield view


# --- operators -------------------------------------------------------------------------------------------------------
def _following(node: Node, view: _View) -> list[_View] | None:
    """The views that a reader of a view yields; None if it does something else."""
    source, *others = node.all_input_nodes
    if source is not view.node or any(tensor_of(item) is not None for item in others):
        return None
    if node.target in _SCALINGS:
        is_number = len(node.args) == 2 and isinstance(node.args[1], int | float) and not node.kwargs
        return [_View(node, view.layout, (*view.scalings, node))] if is_number else None
    if node.target in _LISTS:
        parts = _LISTS[node.target](view.layout, node)
        if any(user.target is not operator.getitem for user in node.users):
            return None
        pairs = [(user, parts[user.args[1]]) for user in node.users]  # type: ignore[index]
    elif node.target in _VIEWS:
        pairs = [(node, _VIEWS[node.target](view.layout, node))]
    else:
        return None
    found = [_View(item, layout, view.scalings) for item, layout in pairs if layout is not None]
    return found if len(found) == len(pairs) else None


def _reshaped(layout: Layout, node: Node) -> Layout | None:
    return layout.view(_shape(node))


def _shape(node: Node) -> Sequence[Any]:
    tensor = tensor_of(node)
    assert tensor is not None
    return tensor.shape


def _permuted(layout: Layout, node: Node) -> Layout | None:
    order: Any = node.args[1]
    return layout.permute(order)


def _transposed(layout: Layout, node: Node) -> Layout | None:
    dims: Any = node.args[1:]
    return layout.transpose(*dims)


def _sliced(layout: Layout, node: Node) -> Layout | None:
    dim: Any = node.args[1] if len(node.args) > 1 else 0
    start: Any = (node.args[2] if len(node.args) > 2 else None) or 0
    step = node.args[4] if len(node.args) > 4 else 1
    known = isinstance(start, int) and start >= 0 and step == 1
    return layout.narrow(dim, start, _shape(node)[dim]) if known else None


def _selected(layout: Layout, node: Node) -> Layout | None:
    args: Any = node.args
    _, dim, index = args
    known = isinstance(dim, int) and isinstance(index, int) and index >= 0
    return layout.select(dim, index) if known else None


def _split(layout: Layout, node: Node) -> list[Layout | None]:
    dim: Any = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    sizes = [part.shape[dim] for part in node.meta["val"]]
    starts = itertools.accumulate(sizes, initial=0)
    return [layout.narrow(dim, start, size) for start, size in zip(starts, sizes, strict=False)]


def _unbound(layout: Layout, node: Node) -> list[Layout | None]:
    dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return [layout.select(dim, index) for index in range(len(node.meta["val"]))]


_SCALINGS = frozenset({aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar})
_RESHAPES = (
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
    aten.unflatten.int,
    aten.flatten.using_ints,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
)
_VIEWS: Mapping[Any, Callable[[Layout, Node], Layout | None]] = MappingProxyType(
    {
        **dict.fromkeys(_RESHAPES, _reshaped),
        aten.permute.default: _permuted,
        aten.transpose.int: _transposed,
        aten.t.default: lambda layout, node: layout.transpose(0, -1),
        aten.select.int: _selected,
        aten.slice.Tensor: _sliced,
    }
)
_LISTS: Mapping[Any, Callable[[Layout, Node], list[Layout | None]]] = MappingProxyType(
    {aten.split.Tensor: _split, aten.split_with_sizes.default: _split, aten.unbind.int: _unbound}
)


# --- the result ------------------------------------------------------------------------------------------------------
def _heads(view: _View, columns: Any) -> Heads | None:
    """The view as heads of a product with so many columns."""
    dims, offset = view.layout.dims, view.layout.offset
    if len(dims) != 4 or any(len(dim) > 1 for dim in dims) or not isinstance(columns, int):
        return None
    left = {place: dim[0] if dim else Mode(1, 0) for place, dim in enumerate(dims)}

    def taken(stride: Any) -> tuple[int | None, Any]:
        """The dimension with a stride, and its size; with none, one of size 1 will do."""
        for place, mode in left.items():
            if same_size(mode.stride, stride):
                del left[place]
                return place, mode.size
        return None, 1

    element, size = taken(1)
    head, count = taken(size)
    inner, length = taken(columns)
    outer, batch = taken(length * columns)
    fits = isinstance(size, int) and isinstance(count, int) and isinstance(offset, int) and size > 1
    if not fits or columns % size or offset % size or offset + count * size > columns:
        return None
    if any(mode.size != 1 for mode in left.values()):
        return None
    spare = iter(left)
    places = [next(spare) if place is None else place for place in (outer, inner, head, element)]
    order = tuple(places.index(dim) for dim in range(4))
    return Heads(view.node, (batch, length), order, offset // size, count, size, view.scalings)
