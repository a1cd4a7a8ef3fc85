"""Tensors that a model makes of nothing while torch.fx traces it, which fx would take for constants of the model."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node, Tracer
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode

from ..ir.memory import memory_of

_IN_PLACE = frozenset(
    {
        operator.setitem,
        operator.iadd,
        operator.isub,
        operator.imul,
        operator.itruediv,
        operator.ifloordiv,
        operator.imod,
        operator.ipow,
        operator.imatmul,
        operator.iand,
        operator.ior,
        operator.ixor,
        operator.ilshift,
        operator.irshift,
    }
)


class RecordedFactories(TorchFunctionMode):
    """While entered, tensors that the model makes of nothing, as with `torch.zeros`, are made in the graph."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer
        self._makers = frozenset(_device_constructors())

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Record the call of such a function, and run any other."""
        if func in self._makers:
            return self._tracer.create_proxy("call_function", func, args, dict(kwargs or {}))
        return func(*args, **(kwargs or {}))


class Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the memory of tensors that are made meanwhile, in `memories`, and keeps it alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.memories: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = {memory_of(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and (memory_of(leaf) not in given or "lift_fresh" in str(func)):
                self.memories.setdefault(memory_of(leaf), leaf)
        return result


def written_by(node: Node) -> list[Node]:
    """The arguments that a node of a graph by fx writes to, as far as their names tell."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    out = node.kwargs.get("out")
    written = [item for item in pytree.tree_leaves(out) if isinstance(item, Node)]
    named = name.endswith("_") and not name.endswith("__")
    if named or node.kwargs.get("inplace") is True or node.target in _IN_PLACE:
        written += [arg for arg in node.args[:1] if isinstance(arg, Node)]
    return written
