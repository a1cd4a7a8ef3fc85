"""Cases of layers that combine, move or choose elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from trt_passes.compiler.tensorrt.context import ConverterContext

from .case import Case
from .operands import DTYPES, FLOATS, INTEGERS, TOLERANCES, constant, values


def cases() -> Iterator[Case]:
    """All of them."""
    for dtype in (*FLOATS, *INTEGERS):
        yield from _reductions(dtype)
    for dtype in DTYPES:
        yield from _gathers(dtype)
        yield from _moves(dtype)
    for dtype in FLOATS:
        yield from _float_layers(dtype)
        yield from _group_norms(dtype)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# --- reductions ------------------------------------------------------------------------------------------------------
def _product(x: torch.Tensor, dims: tuple[int, ...], keep: bool) -> torch.Tensor:
    for dim in sorted(dims, reverse=True):
        x = x.prod(dim, keepdim=keep, dtype=x.dtype)
    return x


def _mean(x: torch.Tensor, dims: tuple[int, ...], keep: bool) -> torch.Tensor:
    if x.is_floating_point():
        return x.float().mean(dims, keepdim=keep).to(x.dtype)
    count = torch.Size(x.shape[dim] for dim in dims).numel()
    return torch.div(x.sum(dims, keepdim=keep), count, rounding_mode="trunc").to(x.dtype)


_REDUCTIONS: dict[str, Callable[[torch.Tensor, tuple[int, ...], bool], torch.Tensor]] = {
    "SUM": lambda x, dims, keep: x.sum(dims, keepdim=keep, dtype=x.dtype),
    "PROD": _product,
    "MAX": lambda x, dims, keep: x.amax(dims, keepdim=keep),
    "MIN": lambda x, dims, keep: x.amin(dims, keepdim=keep),
    "AVG": _mean,
}


def _reductions(dtype: torch.dtype) -> Iterator[Case]:
    for operation, function in _REDUCTIONS.items():
        for shape, dims in (
            ((5, 12), (1,)),
            ((5, 12), (0,)),
            ((5, 12), (0, 1)),
            ((7, 3), (1,)),
            ((3, 33, 5), (1,)),
            ((3, 4, 5), (0, 2)),
            ((1, 1), (0, 1)),
        ):
            for keep in (False, True):
                x = values(dtype, shape, seed=20, low=0.5)
                x = x if operation != "PROD" else torch.clamp(x, max=2 if not dtype.is_floating_point else 1.2)
                yield _reduction(operation, function, x, dims, keep, f"{list(shape)} over {list(dims)}")
        if dtype.is_floating_point and operation in ("SUM", "AVG"):
            many = values(dtype, (2, 16384), seed=21, low=2.0)
            yield _reduction(operation, function, many, (1,), False, "many halves")
            large = torch.full((2, 64), 30000.0, dtype=dtype)
            if operation == "AVG":
                yield _reduction(operation, function, large, (1,), False, "large halves")


def _reduction(
    operation: str, function: Callable[..., torch.Tensor], x: torch.Tensor, dims: tuple[int, ...], keep: bool, text: str
) -> Case:
    def build(ctx: ConverterContext, inputs: Any) -> Any:
        kind = getattr(ctx.trt.ReduceOperation, operation)
        return ctx.network.add_reduce(inputs[0], kind, sum(1 << dim for dim in dims), keep).get_output(0)

    name = f"reduce {operation} {_short(x.dtype)} {text}{', kept' if keep else ''}"
    return Case(name, (x,), build, lambda a: function(a, dims, keep), TOLERANCES.get(x.dtype))


# --- gathers and scatters --------------------------------------------------------------------------------------------
def _gathers(dtype: torch.dtype) -> Iterator[Case]:
    x = values(dtype, seed=22)
    places = torch.tensor([[4, 0, 2], [1, 1, 3]])
    for stored in ("nothing", "places", "values", "both twice"):
        for index_dtype in INTEGERS:
            index = places.to(index_dtype)
            given = tuple(t for t, name in ((x, "values"), (index, "places")) if stored not in (name, "both twice"))

            def operands(
                ctx: ConverterContext, inputs: Any, stored: str = stored, index: torch.Tensor = index
            ) -> tuple[Any, Any]:
                waiting = list(inputs)
                data = constant(ctx, x) if stored in ("values", "both twice") else waiting.pop(0)
                where = constant(ctx, index) if stored in ("places", "both twice") else waiting.pop(0)
                return data, where

            if stored == "both twice":
                continue

            def build(ctx: ConverterContext, inputs: Any, operands: Any = operands) -> Any:
                return ctx.network.add_gather(*operands(ctx, inputs), 0).get_output(0)

            text = f"{_short(dtype)} by {_short(index_dtype)}, {stored} constant"
            yield Case(f"gather {text}", given, build, lambda *_, index=index: x[index.long()])
    element = torch.tensor([[0, 4, 2] * 4])

    def by_element(ctx: ConverterContext, inputs: Any) -> Any:
        layer = ctx.network.add_gather_v2(inputs[0], constant(ctx, element), ctx.trt.GatherMode.ELEMENT)
        layer.axis = 0
        return layer.get_output(0)

    yield Case(f"gather elements {_short(dtype)}", (x,), by_element, lambda a: a.gather(0, element))

    def by_place(ctx: ConverterContext, inputs: Any) -> Any:
        where = constant(ctx, torch.tensor([[4, 1], [0, 11]]))
        return ctx.network.add_gather_v2(inputs[0], where, ctx.trt.GatherMode.ND).get_output(0)

    yield Case(f"gather places {_short(dtype)}", (x,), by_place, lambda a: a[[4, 0], [1, 11]])
    rows, update = torch.tensor([[3], [1]]), values(dtype, (2, 12), seed=23)

    def scatter(ctx: ConverterContext, inputs: Any) -> Any:
        mode = ctx.trt.ScatterMode.ND
        return ctx.network.add_scatter(inputs[0], constant(ctx, rows), inputs[1], mode).get_output(0)

    yield Case(f"scatter {_short(dtype)}", (x, update), scatter, lambda a, b: a.index_put((torch.tensor([3, 1]),), b))


# --- moves -----------------------------------------------------------------------------------------------------------
def _moves(dtype: torch.dtype) -> Iterator[Case]:
    x, stored = values(dtype, seed=24), values(dtype, seed=25)

    def twice(ctx: ConverterContext, inputs: Any) -> Any:
        layer = ctx.network.add_concatenation([inputs[0], inputs[0]])
        layer.axis = 1
        return layer.get_output(0)

    def with_constant(ctx: ConverterContext, inputs: Any) -> Any:
        layer = ctx.network.add_concatenation([inputs[0], constant(ctx, stored)])
        layer.axis = 0
        return layer.get_output(0)

    def filled(ctx: ConverterContext, inputs: Any) -> Any:
        layer = ctx.network.add_slice(inputs[0], (-1, -2), (7, 16), (1, 1))
        layer.mode = ctx.trt.SampleMode.FILL
        layer.set_input(4, constant(ctx, torch.ones((), dtype=dtype)))
        return layer.get_output(0)

    def backwards(ctx: ConverterContext, inputs: Any) -> Any:
        return ctx.network.add_slice(inputs[0], (4, 11), (5, 6), (-1, -2)).get_output(0)

    def expanded(ctx: ConverterContext, inputs: Any) -> Any:
        return ctx.network.add_slice(inputs[0], (0, 3), (5, 12), (1, 0)).get_output(0)

    def turned(ctx: ConverterContext, inputs: Any) -> Any:
        layer = ctx.network.add_shuffle(inputs[0])
        layer.first_transpose = (1, 0)
        layer.reshape_dims = (3, 20)
        return layer.get_output(0)

    short = _short(dtype)
    yield Case(f"concatenation {short} of one tensor twice", (x,), twice, lambda a: torch.cat([a, a], 1))
    yield Case(f"concatenation {short} with a constant", (x,), with_constant, lambda a: torch.cat([a, stored]))
    yield Case(
        f"slice {short} filled with ones", (x,), filled, lambda a: F.pad(a.float(), (2, 2, 1, 1), value=1).to(dtype)
    )
    yield Case(f"slice {short} backwards", (x,), backwards, lambda a: a.flip((0, 1))[:, ::2])
    yield Case(f"slice {short} with stride 0", (x,), expanded, lambda a: a[:, 3:4].expand(5, 12))
    yield Case(f"shuffle {short}", (x,), turned, lambda a: a.t().reshape(3, 20))
    if dtype != torch.bool:

        def topk(ctx: ConverterContext, inputs: Any) -> Any:
            return ctx.network.add_topk(inputs[0], ctx.trt.TopKOperation.MAX, 3, 2).get_output(0)

        def cumulative(ctx: ConverterContext, inputs: Any) -> Any:
            axis = constant(ctx, torch.tensor(1, dtype=torch.int32))
            kind = ctx.trt.CumulativeOperation.SUM
            return ctx.network.add_cumulative(inputs[0], axis, kind, False, False).get_output(0)

        yield Case(f"topk {short}", (x,), topk, lambda a: a.topk(3, 1).values)
        for size in (12, 3000):
            row = values(dtype, (3, size), seed=26, low=1.0)
            yield Case(
                f"cumulative {short} of {size}",
                (row,),
                cumulative,
                lambda a: a.cumsum(1, dtype=a.dtype),
                TOLERANCES.get(dtype),
            )


# --- layers of floats ------------------------------------------------------------------------------------------------
def _float_layers(dtype: torch.dtype) -> Iterator[Case]:
    short, tolerance = _short(dtype), TOLERANCES[dtype]
    x, weight = values(dtype, (4, 64), seed=27), values(dtype, (64, 24), seed=28) * 0.2

    def softmax(ctx: ConverterContext, inputs: Any) -> Any:
        layer = ctx.network.add_softmax(inputs[0])
        layer.axes = 2
        return layer.get_output(0)

    for size in (3, 64, 5000):
        rows = values(dtype, (4, size), seed=29)
        yield Case(
            f"softmax {short} of {size}", (rows,), softmax, lambda a: a.float().softmax(1).to(a.dtype), tolerance
        )

    def product(ctx: ConverterContext, inputs: Any, right: Any = None) -> Any:
        kind = ctx.trt.MatrixOperation.NONE
        second = inputs[1] if len(inputs) == 2 else constant(ctx, weight)
        return ctx.network.add_matrix_multiply(inputs[0], kind, second, kind).get_output(0)

    def squared(ctx: ConverterContext, inputs: Any) -> Any:
        kinds = ctx.trt.MatrixOperation
        layer = ctx.network.add_matrix_multiply(inputs[0], kinds.NONE, inputs[0], kinds.TRANSPOSE)
        return layer.get_output(0)

    loose = (tolerance[0] * 4, tolerance[1] * 8)
    yield Case(f"product {short}", (x, weight), product, lambda a, b: (a.double() @ b.double()).to(dtype), loose)
    yield Case(
        f"product {short} with a constant", (x,), product, lambda a: (a.double() @ weight.double()).to(dtype), loose
    )
    yield Case(
        f"product {short} of a tensor with itself",
        (x,),
        squared,
        lambda a: (a.double() @ a.double().t()).to(dtype),
        loose,
    )
    image = values(dtype, (1, 3, 8, 8), seed=30)
    large = torch.full((1, 3, 8, 8), 30000.0, dtype=dtype)

    def average(ctx: ConverterContext, inputs: Any) -> Any:
        layer = ctx.network.add_pooling_nd(inputs[0], ctx.trt.PoolingType.AVERAGE, (4, 4))
        layer.stride_nd = (4, 4)
        return layer.get_output(0)

    def maximum(ctx: ConverterContext, inputs: Any) -> Any:
        layer = ctx.network.add_pooling_nd(inputs[0], ctx.trt.PoolingType.MAX, (3, 3))
        layer.stride_nd = (2, 2)
        return layer.get_output(0)

    def doubled(ctx: ConverterContext, inputs: Any) -> Any:
        layer = ctx.network.add_resize(inputs[0])
        layer.resize_mode = ctx.trt.InterpolationMode.LINEAR
        layer.shape = (1, 3, 16, 16)
        layer.coordinate_transformation = ctx.trt.ResizeCoordinateTransformation.HALF_PIXEL
        return layer.get_output(0)

    for name, picture in (("", image), (" of large numbers", large)):
        yield Case(
            f"average pooling {short}{name}",
            (picture,),
            average,
            lambda a: F.avg_pool2d(a.float(), 4).to(dtype),
            tolerance,
        )
    yield Case(f"max pooling {short}", (image,), maximum, lambda a: F.max_pool2d(a.float(), 3, 2).to(dtype))
    yield Case(
        f"resize {short}",
        (image,),
        doubled,
        lambda a: F.interpolate(a.float(), scale_factor=2, mode="bilinear").to(dtype),
        tolerance,
    )
    for scale in (1.0, 3000.0):
        rows = values(dtype, (4, 64), seed=31) * scale
        ones, zeros = torch.ones(1, 64, dtype=dtype), torch.zeros(1, 64, dtype=dtype)

        def normalization(ctx: ConverterContext, inputs: Any, ones: Any = ones, zeros: Any = zeros) -> Any:
            layer = ctx.network.add_normalization_v2(inputs[0], constant(ctx, ones), constant(ctx, zeros), 2)
            layer.epsilon = 1e-5
            return layer.get_output(0)

        yield Case(
            f"layer norm {short} of values around {scale:g}",
            (rows,),
            normalization,
            lambda a: F.layer_norm(a.float(), (64,)).to(dtype),
            tolerance,
        )


# --- group norm: with a unit weight of all groups, [1, 32, 1], it had no execution context -------------------------
def _group_norms(dtype: torch.dtype) -> Iterator[Case]:
    for channels, side in ((320, 64), (64, 16), (1280, 8)):
        x = values(dtype, (2, channels, side, side), seed=32)
        weight, bias = values(dtype, (channels,), seed=33), values(dtype, (channels,), seed=34)

        def eager(x: torch.Tensor, weight: torch.Tensor = weight, bias: torch.Tensor = bias) -> torch.Tensor:
            return F.group_norm(x.float(), 32, weight.float(), bias.float()).to(dtype)

        for wide in (False, True):
            for stored in (False, True):

                def build(
                    ctx: ConverterContext,
                    inputs: Any,
                    wide: bool = wide,
                    stored: bool = stored,
                    parts: tuple[torch.Tensor, ...] = (weight, bias),
                ) -> Any:
                    operands = [*inputs[:1], *((constant(ctx, part) for part in parts) if stored else inputs[1:])]
                    return _group_norm(ctx, *operands, wide=wide)

                text = f"{'between casts to float32' if wide else 'of halves'}, {'constants' if stored else 'inputs'}"
                given = (x,) if stored else (x, weight, bias)
                # Halves are rounded twice more on the way.
                relative, absolute = TOLERANCES[dtype]
                tolerance = (relative, absolute) if wide else (relative * 4, absolute * 16)
                name = f"group norm {_short(dtype)} {list(x.shape)} {text}"
                yield Case(name, given, build, eager, tolerance, timed=True)


def _group_norm(ctx: ConverterContext, x: Any, weight: Any, bias: Any, wide: bool) -> Any:
    net, shape, dtype = ctx.network, tuple(x.shape), x.dtype

    def reshaped(tensor: Any, dims: tuple[int, ...]) -> Any:
        layer = net.add_shuffle(tensor)
        layer.reshape_dims = dims
        return layer.get_output(0)

    if wide:
        x, weight, bias = (net.add_cast(part, ctx.trt.float32).get_output(0) for part in (x, weight, bias))
    kind = torch.float32 if wide else {ctx.trt.float16: torch.float16, ctx.trt.bfloat16: torch.bfloat16}.get(dtype)
    unit = [constant(ctx, torch.full((1, 1, 1), number, dtype=kind or torch.float32)) for number in (1.0, 0.0)]
    layer = net.add_normalization_v2(reshaped(x, (shape[0], 32, -1)), *unit, 4)
    layer.epsilon = 1e-5
    result = reshaped(layer.get_output(0), shape)
    channel = (1, shape[1], 1, 1)
    kinds = ctx.trt.ElementWiseOperation
    result = net.add_elementwise(result, reshaped(weight, channel), kinds.PROD).get_output(0)
    result = net.add_elementwise(result, reshaped(bias, channel), kinds.SUM).get_output(0)
    return net.add_cast(result, dtype).get_output(0) if wide else result
