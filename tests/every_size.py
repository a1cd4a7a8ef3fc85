"""Compile a small function for ranges of sizes, and compare it with PyTorch at every size in them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import trt_passes as tp
from torch.utils import _pytree as pytree
from trt_passes.compiler.frontends.torch_compile import TorchCompileBackend

from .oracle import compare

Shape = Sequence[int | str]
Ranges = Mapping[str, tuple[int, int, int]]


class Model(torch.nn.Module):
    """A function of tensors as a module, with a few numbers as buffers."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("three", torch.tensor(3.0))

    def forward(self, x: torch.Tensor) -> Any:
        """What the function makes of its tensor, and of the buffer if it takes one more argument."""
        return self.function(x) if self.function.__code__.co_argcount == 1 else self.function(x, self.three)


def compiled_for(function: Callable[..., Any], shape: Shape, ranges: Ranges, **options: Any) -> Any:
    """A function of one tensor, exported and compiled for all sizes of some ranges; every operator may be an engine."""
    low, usual, high = ([ranges[s][i] if isinstance(s, str) else s for s in shape] for i in range(3))
    declared = tp.Input(min_shape=low, opt_shape=usual, max_shape=high)
    return tp.compile(Model(function).eval(), [declared], min_block_size=1, executor="reference", **options)


def check_every_size(
    function: Callable[..., Any], shape: Shape, ranges: Ranges, *, ir: str = "dynamo", inputs: int = 1
) -> Any:
    """Assert that a function, compiled, does at all sizes what it does in PyTorch; returns what was compiled.

    Args:
        function: takes a tensor (and a buffer that is 3).
        shape: of the tensor, with names for sizes that vary.
        ranges: smallest, usual and largest size by name.
        ir: "dynamo", or "torch_compile" for torch.compile with `dynamic=True`, without declared ranges.
        inputs: how many different tensors of each size to try.
    """
    model = Model(function).eval()
    if ir == "dynamo":
        compiled = compiled_for(function, shape, ranges)
    else:
        torch._dynamo.reset()
        backend = TorchCompileBackend(min_block_size=1, executor="reference", pass_through_build_failures=True)
        compiled = torch.compile(model, backend=backend, dynamic=True)
    for sizes in _sizes(ranges):
        for seed in range(inputs):
            generator = torch.Generator().manual_seed(seed)
            x = torch.randn([sizes.get(str(size), size) for size in shape], generator=generator)
            with torch.no_grad():
                expected, actual = model(x.clone()), compiled(x)
            _compare(actual, expected, f"at {sizes}")
    return compiled


def _sizes(ranges: Ranges) -> Iterator[dict[str, int]]:
    for sizes in itertools.product(*(range(low, high + 1) for low, _, high in ranges.values())):
        yield dict(zip(ranges, sizes, strict=True))


def _compare(actual: Any, expected: Any, what: str) -> None:
    found, wanted = pytree.tree_leaves(actual), pytree.tree_leaves(expected)
    assert len(found) == len(wanted), what
    for left, right in zip(found, wanted, strict=True):
        if isinstance(right, torch.Tensor):
            compare(left, right, what, (1e-3, 1e-4))
        else:
            assert type(left) is type(right), what
            assert left == right, what
