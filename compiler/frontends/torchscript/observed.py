"""What the values of a TorchScript graph are, in calls with examples."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .inlined import Inlined

_LIBRARY = torch.library.Library("trt_passes", "FRAGMENT")  # type: ignore[no-untyped-call]
_KINDS = {"TensorType": "Tensor", "IntType": "int", "FloatType": "float", "BoolType": "bool"}
for _name in _KINDS.values():
    # Conservative: TorchScript must neither remove nor move it.
    _LIBRARY.define(f"seen_{_name.lower()}({_name} value, int number) -> ()", "CONSERVATIVE")  # type: ignore[no-untyped-call]
    _LIBRARY.impl(f"seen_{_name.lower()}", lambda value, number: None, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]


@dataclass
class Seen:
    """What values were in calls, by name: tensors as (data type, sizes), numbers as they are; those of `usual` last."""

    values: dict[str, list[Any]] = field(default_factory=dict)

    def of(self, name: str) -> list[Any]:
        """All that a value was."""
        return self.values.get(name, [])


LOST = ("There were no tensor arguments to this function", "Expected Tensor but got None")
"""What operators say to a tensor that is none."""


class CallFailed(Exception):
    """A method, by its number, raises an error."""

    def __init__(self, number: int, error: RuntimeError) -> None:
        self.number, self.error = number, error
        super().__init__(str(error))


Names = list[tuple[Seen, str]]
"""What an operator that tells a value is about, by the number that it is given."""


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, names: Names) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = names
        self.error: RuntimeError | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if not func._schema.name.startswith("trt_passes::seen_"):
            return self._called(func, args, kwargs or {})
        value, number = args
        what = (value.dtype, tuple(value.shape)) if isinstance(value, torch.Tensor) else value
        seen, name = self.names[number]
        seen.values.setdefault(name, []).append(what)
        return None

    def _called(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            self.error = error  # of which TorchScript keeps no message
            raise


def observe(models: Sequence[Inlined], rounds: Sequence[Sequence[Sequence[Any]]], times: int = 3) -> list[Seen]:
    """Call copies of a module's methods, one after the other, several times, and note what their values are.

    Args:
        models: the methods, of one module.
        rounds: arguments of every method. State is kept in a round, and the next begins with a new copy.
        times: how often each method is called in a round.

    Raises:
        CallFailed: a method raises.
    """
    try:
        return _observed(models, rounds, times, optimized=False)
    except CallFailed as error:
        # PyTorch's interpreter loses what a branch with a loop gives, unless it optimizes.
        if not any(said in str(error) for said in LOST):
            raise
    return _observed(models, rounds, times, optimized=True)


def _observed(
    models: Sequence[Inlined], rounds: Iterable[Sequence[Sequence[Any]]], times: int, optimized: bool
) -> list[Seen]:
    names: Names = []
    functions: list[Any] = []
    found = [Seen() for _ in models]
    for model, seen in zip(models, found, strict=True):
        graph = model.graph.copy()
        _watch_block(graph, graph, model.graph, _Told(seen, names), set())
        functions.append(torch._C._create_function_from_graph("forward", graph))
    jit: Any = torch.jit
    watch = _Watch(names)
    with torch.no_grad(), jit.optimized_execution(optimized), watch:
        for arguments in rounds:
            module = copy.deepcopy(models[0].script)
            for _ in range(times):
                for number, function in enumerate(functions):
                    try:
                        function(module, *copy.deepcopy(list(arguments[number])))
                    except (RuntimeError, jit.Error) as error:
                        raise CallFailed(number, watch.error or error) from error
    return found


@dataclass(frozen=True)
class _Told:
    """Gives numbers to the values of one method."""

    seen: Seen
    names: Names

    def number(self, name: str) -> int:
        self.names.append((self.seen, name))
        return len(self.names) - 1


def _watch_block(graph: Any, block: Any, original: Any, told: _Told, unset: set[str]) -> None:
    """Insert the operators that tell values; `original` is the same block, whose names count.

    `unset` gets the names of values that may have none, as where a `return` in a branch skips what comes after: to read
    such a value ends in an error.
    """
    nodes = list(zip(block.nodes(), original.nodes(), strict=True))
    end = block.return_node() if block is graph else block.returnNode()
    first = nodes[0][0] if nodes else end
    for value, twin in zip(block.inputs(), original.inputs(), strict=True):
        if twin.debugName() not in unset:
            _watch(graph, value, twin.debugName(), first, told)
    for index, (node, before) in enumerate(nodes):
        kind = node.kind()
        if kind == "prim::Loop":
            _mark_carried(before, unset)
        for inner, twin in zip(node.blocks(), before.blocks(), strict=True):
            _watch_block(graph, inner, twin, told, unset)
        following = nodes[index + 1][0] if index + 1 < len(nodes) else end
        outputs = list(zip(node.outputs(), before.outputs(), strict=True))
        if kind == "prim::Uninitialized" or (kind == "prim::unchecked_cast" and _is_unset(before.inputs(), unset)):
            unset.update(twin.debugName() for _, twin in outputs)
        elif kind in ("prim::If", "prim::Loop"):
            skipped = 1 if kind == "prim::Loop" else 0  # of a loop's block, the first result says whether it goes on
            for place, (_, twin) in enumerate(outputs):
                ends = [list(inner.outputs())[place + skipped] for inner in before.blocks()]
                if _is_unset(ends, unset):
                    unset.add(twin.debugName())
        if kind != "prim::Constant":
            for value, twin in outputs:
                if twin.debugName() not in unset:
                    _watch(graph, value, twin.debugName(), following, told)


def _mark_carried(loop: Any, unset: set[str]) -> None:
    """Note which values that a loop hands from round to round may be unset: at first, or after any round."""
    (body,) = loop.blocks()
    carried = list(body.inputs())[1:]
    starts = list(loop.inputs())[2:]
    kinds = {value.debugName() for value, start in zip(carried, starts, strict=True) if _is_unset([start], unset)}
    unset.update(kinds)


def _is_unset(values: Any, unset: set[str]) -> bool:
    return any(value.debugName() in unset for value in values)


def _watch(graph: Any, value: Any, name: str, following: Any, told: _Told) -> None:
    kind = _KINDS.get(value.type().kind())
    if kind is None:
        return
    number = graph.create("prim::Constant", 1).i_("value", told.number(name))
    number.output().setType(torch._C.IntType.get())
    number.insertBefore(following)
    graph.create(f"trt_passes::seen_{kind.lower()}", [value, number.output()], 0).insertBefore(following)
