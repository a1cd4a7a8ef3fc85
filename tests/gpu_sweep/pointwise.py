"""Cases of layers that compute each element from those at the same place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from trt_passes.compiler.tensorrt.context import ConverterContext

from .case import Case
from .operands import DTYPES, FLOATS, INTEGERS, SHAPE, TOLERANCES, Pair, constant, pairs, values

_NUMERIC = (*FLOATS, *INTEGERS)
_BOOL = (torch.bool,)


def _truncated(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


_BINARY: dict[str, tuple[Callable[..., torch.Tensor], tuple[torch.dtype, ...]]] = {
    "SUM": (torch.add, _NUMERIC),
    "PROD": (torch.mul, _NUMERIC),
    "MAX": (torch.maximum, _NUMERIC),
    "MIN": (torch.minimum, _NUMERIC),
    "SUB": (torch.sub, _NUMERIC),
    "DIV": (_truncated, _NUMERIC),
    "FLOOR_DIV": (torch.floor_divide, _NUMERIC),
    "POW": (torch.pow, FLOATS),
    "EQUAL": (torch.eq, DTYPES),
    "GREATER": (torch.gt, _NUMERIC),
    "LESS": (torch.lt, _NUMERIC),
    "AND": (torch.logical_and, _BOOL),
    "OR": (torch.logical_or, _BOOL),
    "XOR": (torch.logical_xor, _BOOL),
}
_POSITIVE = {"POW", "DIV", "FLOOR_DIV"}
"""Operations that are given numbers above zero only."""

_UNARY: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float, tuple[torch.dtype, ...]]] = {
    "EXP": (torch.exp, -3, FLOATS),
    "LOG": (torch.log, 0.1, FLOATS),
    "SQRT": (torch.sqrt, 0.1, FLOATS),
    "RECIP": (torch.reciprocal, 0.1, FLOATS),
    "ABS": (torch.abs, -3, _NUMERIC),
    "NEG": (torch.neg, -3, _NUMERIC),
    "SIGN": (torch.sign, -3, _NUMERIC),
    "SIN": (torch.sin, -3, FLOATS),
    "COS": (torch.cos, -3, FLOATS),
    "SINH": (torch.sinh, -3, FLOATS),
    "COSH": (torch.cosh, -3, FLOATS),
    "ASINH": (torch.asinh, -3, FLOATS),
    "ATAN": (torch.atan, -3, FLOATS),
    "TAN": (torch.tan, -3, FLOATS),
    "ASIN": (torch.asin, -3, FLOATS),
    "ACOS": (torch.acos, -3, FLOATS),
    "ACOSH": (torch.acosh, -3, FLOATS),
    "ATANH": (torch.atanh, -3, FLOATS),
    "CEIL": (torch.ceil, -3, FLOATS),
    "FLOOR": (torch.floor, -3, FLOATS),
    "ROUND": (torch.round, -3, FLOATS),
    "ERF": (torch.erf, -3, FLOATS),
    "NOT": (torch.logical_not, -3, _BOOL),
    "ISINF": (torch.isinf, -3, FLOATS),
    "ISNAN": (torch.isnan, -3, FLOATS),
}
_ACTIVATIONS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float | None, float | None]] = {
    "RELU": (torch.relu, None, None),
    "SIGMOID": (torch.sigmoid, None, None),
    "TANH": (torch.tanh, None, None),
    "LEAKY_RELU": (lambda x: F.leaky_relu(x, 0.1), 0.1, None),
    "ELU": (lambda x: F.elu(x, 0.7), 0.7, None),
    "SELU": (F.selu, 1.6732632423543772, 1.0507009873554805),
    "SOFTPLUS": (F.softplus, 1.0, 1.0),
    "CLIP": (lambda x: x.clamp(-1, 1.5), -1.0, 1.5),
    "HARD_SIGMOID": (F.hardsigmoid, 1 / 6, 0.5),
    "SOFTSIGN": (F.softsign, None, None),
    "SCALED_TANH": (lambda x: 1.5 * torch.tanh(0.7 * x), 1.5, 0.7),
    "THRESHOLDED_RELU": (lambda x: torch.where(x > 0.5, x, 0), 0.5, None),
    "GELU_ERF": (F.gelu, None, None),
    "GELU_TANH": (lambda x: F.gelu(x, approximate="tanh"), None, None),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for operation, (function, dtypes) in _BINARY.items():
        for dtype in dtypes:
            for pair in pairs(dtype, 0.2 if operation in _POSITIVE else -3.0):
                yield from _binary(operation, function, dtype, pair)
    for operation, (function, low, dtypes) in _UNARY.items():
        for dtype in dtypes:
            yield from _unary(operation, function, dtype, low)
    for kind, (function, alpha, beta) in _ACTIVATIONS.items():
        for dtype in FLOATS:
            yield _activation(kind, function, dtype, alpha, beta)
    for dtype in DTYPES:
        yield from _selects(dtype)
        yield from _casts(dtype)
    yield from _logic()


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _binary(operation: str, function: Callable[..., torch.Tensor], dtype: torch.dtype, pair: Pair) -> Iterator[Case]:
    def build(ctx: ConverterContext, inputs: Any) -> Any:
        left, right = pair.place(ctx, inputs)
        kind = getattr(ctx.trt.ElementWiseOperation, operation)
        return ctx.network.add_elementwise(left, right, kind).get_output(0)

    def eager(*tensors: torch.Tensor) -> torch.Tensor:
        return function(*pair.eager(*tensors))

    name = f"elementwise {operation} {_short(dtype)} ({pair.name})"
    yield Case(name, pair.inputs, build, eager, TOLERANCES.get(dtype))
    if len(pair.inputs) == 1 and "0-d" not in pair.name:
        # The same inside of a kernel: its operand and its result belong to other layers too.
        yield Case(f"{name} amid others", pair.inputs, _amid(build, dtype), _amid_eager(eager), TOLERANCES.get(dtype))


def _amid(build: Callable[..., Any], dtype: torch.dtype) -> Callable[..., Any]:
    def around(ctx: ConverterContext, inputs: Any) -> Any:
        first = _turned(ctx, inputs[0])
        return _turned(ctx, build(ctx, [first]))

    return around


def _turned(ctx: ConverterContext, x: Any) -> Any:
    kinds = ctx.trt.UnaryOperation
    return ctx.network.add_unary(x, kinds.NOT if x.dtype == ctx.trt.bool else kinds.ABS).get_output(0)


def _amid_eager(eager: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def turned(x: torch.Tensor) -> torch.Tensor:
        return ~x if x.dtype == torch.bool else x.abs()

    return lambda x: turned(eager(turned(x)))


def _unary(
    operation: str, function: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype, low: float
) -> Iterator[Case]:
    def build(ctx: ConverterContext, inputs: Any) -> Any:
        return ctx.network.add_unary(inputs[0], getattr(ctx.trt.UnaryOperation, operation)).get_output(0)

    for shape in (SHAPE, ()):
        x = values(dtype, shape, seed=7, low=low)
        yield Case(f"unary {operation} {_short(dtype)} {list(shape)}", (x,), build, function, TOLERANCES.get(dtype))
    stored = values(dtype, seed=8, low=low)

    def of_constant(ctx: ConverterContext, inputs: Any) -> Any:
        result = build(ctx, [constant(ctx, stored)])
        kind = ctx.trt.ElementWiseOperation.EQUAL
        return ctx.network.add_elementwise(inputs[0], result, kind).get_output(0)

    if operation in ("NOT", "ABS", "NEG", "SIGN", "CEIL", "FLOOR", "ROUND"):
        yield Case(
            f"unary {operation} {_short(dtype)} of a constant",
            (function(stored),),
            of_constant,
            lambda x: x == function(stored),
        )


def _activation(
    kind: str,
    function: Callable[[torch.Tensor], torch.Tensor],
    dtype: torch.dtype,
    alpha: float | None,
    beta: float | None,
) -> Case:
    def build(ctx: ConverterContext, inputs: Any) -> Any:
        layer = ctx.network.add_activation(inputs[0], getattr(ctx.trt.ActivationType, kind))
        if alpha is not None:
            layer.alpha = alpha
        if beta is not None:
            layer.beta = beta
        return layer.get_output(0)

    x = values(dtype, seed=9)
    return Case(f"activation {kind} {_short(dtype)}", (x,), build, function, TOLERANCES.get(dtype))


def _selects(dtype: torch.dtype) -> Iterator[Case]:
    flags = {
        "input": None,
        "constant": values(torch.bool, seed=10),
        "constant row": values(torch.bool, (1, SHAPE[1]), seed=11),
        "constant True": torch.ones(1, 1, dtype=torch.bool),
        "constant False": torch.zeros(1, 1, dtype=torch.bool),
        "constant True in full": torch.ones(SHAPE, dtype=torch.bool),
        "constant False in full": torch.zeros(SHAPE, dtype=torch.bool),
    }
    for name, stored in flags.items():
        for pair in pairs(dtype):
            if "0-d" in pair.name or (name != "input" and "column" in pair.name):
                continue
            yield _select(f"select {_short(dtype)} (by {name}; {pair.name})", pair, stored)


def _select(name: str, pair: Pair, stored: torch.Tensor | None) -> Case:
    mask = values(torch.bool, seed=12)

    def build(ctx: ConverterContext, inputs: Any) -> Any:
        condition = inputs[0] if stored is None else constant(ctx, stored)
        then, otherwise = pair.place(ctx, inputs if stored is not None else inputs[1:])
        return ctx.network.add_select(condition, then, otherwise).get_output(0)

    def eager(*tensors: torch.Tensor) -> torch.Tensor:
        condition = tensors[0] if stored is None else stored
        return torch.where(condition, *pair.eager(*(tensors if stored is not None else tensors[1:])))

    return Case(name, pair.inputs if stored is not None else (mask, *pair.inputs), build, eager)


def _casts(dtype: torch.dtype) -> Iterator[Case]:
    for target in DTYPES:
        if target == dtype:
            continue
        for shape in (SHAPE, ()):
            x = values(dtype, shape, seed=13)

            def build(ctx: ConverterContext, inputs: Any, target: torch.dtype = target) -> Any:
                return ctx.network.add_cast(inputs[0], ctx.data_type(target)).get_output(0)

            def eager(x: torch.Tensor, target: torch.dtype = target) -> torch.Tensor:
                return x.to(target)

            yield Case(f"cast {_short(dtype)} to {_short(target)} {list(shape)}", (x,), build, eager)


def _logic() -> Iterator[Case]:
    """Logical layers on what other layers make of constants, and in chains."""

    def layer(ctx: ConverterContext, operation: str, left: Any, right: Any) -> Any:
        return ctx.network.add_elementwise(left, right, getattr(ctx.trt.ElementWiseOperation, operation)).get_output(0)

    def inverted(ctx: ConverterContext, x: Any) -> Any:
        return ctx.network.add_unary(x, ctx.trt.UnaryOperation.NOT).get_output(0)

    functions = {"AND": torch.logical_and, "OR": torch.logical_or, "XOR": torch.logical_xor}
    x, floats, whole = values(torch.bool, seed=14), values(torch.float32, seed=15), values(torch.int32, seed=16)
    for operation, function in functions.items():
        for truth in (False, True):
            stored = torch.full((1, 1), truth)
            text = f"logic {operation} {truth}"
            yield Case(
                f"{text}: with a negated constant",
                (x,),
                lambda ctx, i, o=operation, s=stored: layer(ctx, o, i[0], inverted(ctx, constant(ctx, ~s))),
                lambda a, f=function, s=stored: f(a, s),
            )
            yield Case(
                f"{text}: with a comparison of constants",
                (x,),
                lambda ctx, i, o=operation, s=stored: layer(
                    ctx, o, i[0], layer(ctx, "EQUAL", constant(ctx, s.int()), constant(ctx, torch.ones_like(s).int()))
                ),
                lambda a, f=function, s=stored: f(a, s),
            )
            yield Case(
                f"{text}: a comparison of floats with a constant",
                (floats,),
                lambda ctx, i, o=operation, s=stored: layer(
                    ctx, o, layer(ctx, "GREATER", i[0], constant(ctx, torch.zeros(1, 1))), constant(ctx, s)
                ),
                lambda a, f=function, s=stored: f(a > 0, s),
            )
            yield Case(
                f"{text}: a comparison of integers, then a cast",
                (whole,),
                lambda ctx, i, o=operation, s=stored: ctx.network.add_cast(
                    layer(
                        ctx,
                        o,
                        layer(ctx, "LESS", i[0], constant(ctx, torch.ones(1, 1, dtype=torch.int32))),
                        constant(ctx, s),
                    ),
                    ctx.data_type(torch.float32),
                ).get_output(0),
                lambda a, f=function, s=stored: f(a < 1, s).float(),
            )
    for operation, function in functions.items():
        yield Case(
            f"logic {operation}: a tensor with its negation",
            (x,),
            lambda ctx, i, o=operation: layer(ctx, o, i[0], inverted(ctx, i[0])),
            lambda a, f=function: f(a, ~a),
        )
        yield Case(
            f"logic {operation}: two comparisons",
            (floats,),
            lambda ctx, i, o=operation: layer(
                ctx,
                o,
                layer(ctx, "GREATER", i[0], constant(ctx, torch.zeros(1, 1))),
                layer(ctx, "LESS", i[0], constant(ctx, torch.ones(1, 1))),
            ),
            lambda a, f=function: f(a > 0, a < 1),
        )
