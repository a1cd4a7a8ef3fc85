"""Operands of every kind: inputs, constants of several shapes, constants that layers made, and one tensor twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from trt_passes.compiler.tensorrt.context import ConverterContext

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.int32, torch.int64)
DTYPES = (*FLOATS, *INTEGERS, torch.bool)
SHAPE = (5, 12)

TOLERANCES = {torch.float32: (2e-3, 2e-5), torch.float16: (4e-3, 1e-3), torch.bfloat16: (2e-2, 1e-2)}


def values(dtype: torch.dtype, shape: tuple[int, ...] = SHAPE, seed: int = 0, low: float = -3.0) -> torch.Tensor:
    """Random values of a type; no integer or float of them is zero."""
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.rand(shape, generator=generator) > 0.4
    drawn = torch.rand(shape, generator=generator) * (3.0 - low) + low
    if dtype.is_floating_point:
        return torch.where(drawn.abs() < 0.05, 0.5, drawn).to(dtype)
    return torch.where(drawn.round() == 0, 2, drawn.round()).to(dtype)


def constant(ctx: ConverterContext, tensor: torch.Tensor) -> Any:
    """A constant layer's result."""
    return ctx.constant(tensor).trt


@dataclass(frozen=True)
class Pair:
    """Two operands of one layer.

    Attributes:
        name: what they are.
        inputs: the network's inputs.
        place: `(ctx, inputs)` to the two `ITensor`s.
        eager: the inputs to the two tensors.
    """

    name: str
    inputs: tuple[torch.Tensor, ...]
    place: Callable[[ConverterContext, Any], tuple[Any, Any]]
    eager: Callable[..., tuple[torch.Tensor, torch.Tensor]]


def pairs(dtype: torch.dtype, low: float = -3.0) -> Iterator[Pair]:
    """All kinds of two operands of a type."""
    x, y = values(dtype, seed=1, low=low), values(dtype, seed=2, low=low)
    yield Pair("input, input", (x, y), lambda ctx, i: (i[0], i[1]), lambda a, b: (a, b))
    yield Pair("input twice", (x,), lambda ctx, i: (i[0], i[0]), lambda a: (a, a))
    row = values(dtype, (1, SHAPE[1]), seed=3, low=low)
    yield Pair("input, input row", (x, row), lambda ctx, i: (i[0], i[1]), lambda a, b: (a, b))
    zero_d = values(dtype, (), seed=4, low=low)
    other = values(dtype, (), seed=5, low=low)
    yield Pair("0-d, 0-d", (zero_d, other), lambda ctx, i: (i[0], i[1]), lambda a, b: (a, b))
    constants = {"constant": y, "constant row": row, "constant column": values(dtype, (5, 1), seed=6, low=low)}
    for number in _numbers(dtype, low):
        constants[f"constant {number} [1,1]"] = torch.full((1, 1), number, dtype=dtype)
        constants[f"constant {number} in full"] = torch.full(SHAPE, number, dtype=dtype)
    for name, stored in constants.items():
        yield _with_constant(name, x, stored)
        yield _swapped(_with_constant(name, x, stored))
    for number in _numbers(dtype, low):
        yield _with_constant(f"0-d constant {number}", zero_d, torch.full((), number, dtype=dtype))
        yield _expanded(x, torch.full((1, 1), number, dtype=dtype), number)


def _numbers(dtype: torch.dtype, low: float) -> tuple[float, ...]:
    if dtype == torch.bool:
        return (False, True)
    return (1, 2) if low > 0 else (0, 1, -1)


def _with_constant(name: str, x: torch.Tensor, stored: torch.Tensor) -> Pair:
    return Pair(f"input, {name}", (x,), lambda ctx, i: (i[0], constant(ctx, stored)), lambda a: (a, stored))


def _swapped(pair: Pair) -> Pair:
    first, second = pair.name.split(", ")
    return Pair(
        f"{second}, {first}",
        pair.inputs,
        lambda ctx, i: pair.place(ctx, i)[::-1],
        lambda *tensors: pair.eager(*tensors)[::-1],
    )


def _expanded(x: torch.Tensor, stored: torch.Tensor, number: float) -> Pair:
    def place(ctx: ConverterContext, inputs: Any) -> tuple[Any, Any]:
        layer = ctx.network.add_slice(constant(ctx, stored), (0, 0), SHAPE, (0, 0))
        return inputs[0], layer.get_output(0)

    return Pair(f"input, constant {number} expanded", (x,), place, lambda a: (a, stored.expand(SHAPE)))
