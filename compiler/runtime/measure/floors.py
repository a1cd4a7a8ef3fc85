"""What op nodes would take at least: the bytes that they move and the operations that they do, against the device's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from ...ir.engine_operator import OPERATOR
from ...ir.program import is_getitem
from ..compiled_segment import CompiledSegment
from .profile import Limits

_VIEWS = frozenset(
    {"view", "_unsafe_view", "permute", "transpose", "t", "expand", "slice", "select", "unsqueeze", "squeeze", "detach"}
)
"""Operators that move nothing by themselves; what reads their results pays."""


class Work(Interpreter):
    """Runs a graph in PyTorch and notes what its nodes read, write and compute.

    Args:
        float32: the name of what products of float32 are computed in; engines take TF32.

    Attributes:
        bytes: read and written by a node, by name.
        operations: two for each multiplication and addition of matrix products, convolutions and attention, with the
            type that they are done in.
    """

    def __init__(
        self,
        module: GraphModule,
        segments: Mapping[str, CompiledSegment] | None = None,
        float32: str = "float32",
    ) -> None:
        super().__init__(module)
        self._float32 = float32
        self.bytes: dict[str, int] = {}
        self.operations: dict[str, tuple[int, str]] = {}
        self._segments = segments or {}

    def run_node(self, n: Node) -> Any:
        if n.target is OPERATOR and n.name in self._segments:
            return self._segment(self._segments[n.name], n)
        if n.op != "call_function" or is_getitem(n):
            return super().run_node(n)
        inputs = pytree.tree_leaves(self.fetch_args_kwargs_from_env(n))
        with FlopCounterMode(display=False) as counter:
            value = super().run_node(n)
        outputs = pytree.tree_leaves(value)
        moved = 0 if _is_view(n) else sum(map(_nbytes, (*inputs, *outputs)))
        self.bytes[n.name] = moved
        dtype = next((str(leaf.dtype).removeprefix("torch.") for leaf in outputs if _is_float(leaf)), "float32")
        kind = self._float32 if dtype == "float32" else dtype
        self.operations[n.name] = (int(counter.get_total_flops()), kind)
        return value

    def _segment(self, segment: CompiledSegment, node: Node) -> Any:
        inputs = self.fetch_args_kwargs_from_env(node)[0][0]
        graph, constants = segment.placed(inputs)
        inner = Work(graph, float32="tf32")
        result = Interpreter.run(inner, *inputs, *constants, enable_io_processing=False)
        self.bytes |= inner.bytes
        self.operations |= inner.operations
        return list(result)

    def floors(self, limits: Limits) -> dict[str, float]:
        """Microseconds that each node takes at least."""
        found = {}
        for name, moved in self.bytes.items():
            operations, dtype = self.operations[name]
            peak = limits.peak.get(dtype)
            seconds = max(moved / limits.bandwidth, operations / peak if peak else 0.0)
            found[name] = seconds * 1e6
        return found


def measured_limits(device: torch.device) -> Limits:
    """Bytes per second of a large copy, and operations per second of large matrix products, on a GPU."""
    large = torch.empty(1 << 28, dtype=torch.uint8, device=device)
    other = torch.empty_like(large)
    bandwidth = 2 * large.numel() / _seconds(lambda: other.copy_(large))
    peak = {}
    for name in ("float32", "tf32", "float16", "bfloat16"):
        size = 4096 if name.endswith("32") else 8192
        dtype = torch.float32 if name == "tf32" else getattr(torch, name)
        matrix = torch.randn(size, size, device=device, dtype=dtype)
        with _tf32(name == "tf32"):
            peak[name] = 2 * size**3 / _seconds(lambda matrix=matrix: matrix @ matrix)  # type: ignore[misc]
    return Limits(bandwidth, peak)


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _seconds(call: Callable[[], Any], count: int = 10) -> float:
    call()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(count):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / count


def _is_view(node: Node) -> bool:
    name = getattr(getattr(node.target, "overloadpacket", None), "__name__", "")
    return name in _VIEWS


def _nbytes(leaf: Any) -> int:
    return leaf.numel() * leaf.element_size() if isinstance(leaf, torch.Tensor) else 0


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
