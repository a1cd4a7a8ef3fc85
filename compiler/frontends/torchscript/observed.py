"""What the values of a TorchScript graph are, in calls with examples."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
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


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, names: Sequence[str], seen: Seen) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names, self.seen = names, seen

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if not func._schema.name.startswith("trt_passes::seen_"):
            return func(*args, **(kwargs or {}))
        value, number = args
        what = (value.dtype, tuple(value.shape)) if isinstance(value, torch.Tensor) else value
        self.seen.values.setdefault(self.names[number], []).append(what)
        return None


def observe(model: Inlined, calls: Sequence[Sequence[Any]], times: int = 3) -> Seen:
    """Call a copy of a module with arguments, several times each, and note what its values are.

    Raises:
        UserError: it raises.
    """
    graph = model.graph.copy()
    names: list[str] = []
    _watch_block(graph, graph, model.graph, names)
    function: Any = torch._C._create_function_from_graph("forward", graph)
    seen = Seen()
    jit: Any = torch.jit
    with torch.no_grad(), jit.optimized_execution(False), _Watch(names, seen):
        for arguments in calls:
            module = copy.deepcopy(model.script)
            for _ in range(times):
                function(module, *copy.deepcopy(list(arguments)))
    return seen


def _watch_block(graph: Any, block: Any, original: Any, names: list[str]) -> None:
    """Insert the operators that tell values; `original` is the same block, whose names count."""
    nodes = list(zip(block.nodes(), original.nodes(), strict=True))
    end = block.return_node() if block is graph else block.returnNode()
    first = nodes[0][0] if nodes else end
    for value, twin in zip(block.inputs(), original.inputs(), strict=True):
        _watch(graph, value, twin.debugName(), first, names)
    for index, (node, before) in enumerate(nodes):
        for inner, twin in zip(node.blocks(), before.blocks(), strict=True):
            _watch_block(graph, inner, twin, names)
        following = nodes[index + 1][0] if index + 1 < len(nodes) else end
        if node.kind() not in ("prim::Constant", "prim::Uninitialized"):
            for value, twin in zip(node.outputs(), before.outputs(), strict=True):
                _watch(graph, value, twin.debugName(), following, names)


def _watch(graph: Any, value: Any, name: str, following: Any, names: list[str]) -> None:
    kind = _KINDS.get(value.type().kind())
    if kind is None:
        return
    number = graph.create("prim::Constant", 1).i_("value", len(names))
    number.output().setType(torch._C.IntType.get())
    number.insertBefore(following)
    graph.create(f"trt_passes::seen_{kind.lower()}", [value, number.output()], 0).insertBefore(following)
    names.append(name)
