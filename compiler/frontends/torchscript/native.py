"""Operators on plain numbers and texts, run by TorchScript itself, whose results differ from Python's.

`str(1.0)` is "1.", `2 ** 3` is 8.0, `round` gives a float, and `math.log(-1.0)` is nan instead of an error.
"""

from __future__ import annotations

from typing import Any

import torch

from .code import Op

_TEXTS = ("aten::str", "aten::format", "aten::percentFormat")
_PLAIN = (bool, int, float, complex, str, type(None), torch.device)
_OWN = ("prim::max", "prim::min", "prim::abs", "prim::StringIndex")


def is_plain(value: Any) -> bool:
    """Whether a value is made of numbers, texts and None that are known, and of containers of these."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    return isinstance(value, _PLAIN)


def is_native(op: Op, values: list[Any]) -> bool:
    """Whether TorchScript's own operator can run on values, and gives all that there is."""
    return may_be_native(op) and all(map(is_plain, values))


def may_be_native(op: Op) -> bool:
    """Whether an operator, which is none of ATen's, changes nothing and shares nothing.

    Operators on containers of any type hand out what is in them, and stay Python's.
    """
    kind = op.kind
    if not (kind.startswith("aten::") or kind in _OWN) or op.is_mutable or not op.outputs:
        return False
    types = [argument.type for argument in op.schema.arguments]
    generic = any(map(_is_generic, types)) and kind not in _TEXTS
    return not generic and "Tensor" not in str(op.schema).partition("->")[2]


def run_native(op: Op, values: list[Any]) -> Any:
    """What TorchScript's operator makes of plain values."""
    graph: Any = torch._C.Graph()
    made: dict[str, Any] = {}
    for value in op.node.inputs():
        made.setdefault(value.debugName(), graph.addInput().setType(value.type()))
    clone = graph.insertNode(graph.createClone(op.node, lambda value: made[value.debugName()]))
    for output in clone.outputs():
        graph.registerOutput(output)
    native: Any = torch._C
    return native._jit_interpret_graph(graph, tuple(dict(zip(op.inputs, values, strict=True)).values()))


def _is_generic(type: Any) -> bool:
    return type.kind() == "VarType" or any(map(_is_generic, type.containedTypes()))
