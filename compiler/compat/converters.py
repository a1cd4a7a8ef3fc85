"""Converters that were written for Torch-TensorRT: functions that add layers to a network and return its tensors."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import torch
from torch.fx import Node

from ..ir.call import Call
from ..ir.symbols import dims_of
from ..tensorrt.context import ConverterContext
from ..tensorrt.plugins import Decomposition, overloads_of
from ..tensorrt.registry import Condition, Converter
from ..tensorrt.tensor import Tensor
from .compilation_settings import CompilationSettings
from .conversion_context import ConversionContext
from .enums import dtype as DType
from .kept import Kept
from .mistakes import InvalidType


class ConverterPriority(Enum):
    """Which of several converters for an operator is asked; here it is the one that was registered last."""

    STANDARD = auto()
    HIGH = auto()


class Registered(Kept[Converter | Decomposition]):
    """The converters of a process, which every compilation of `trt_passes.torch_tensorrt` knows."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Any = None


REGISTERED = Registered()


def with_registered(options: dict[str, Any]) -> dict[str, Any]:
    """Options of `trt_passes.compile` with the converters that were registered, before those that it is given."""
    if not REGISTERED.items:
        return options
    given = options.get("converters") or ()
    return {**options, "converters": (*REGISTERED.items, *(given if isinstance(given, list | tuple) else (given,)))}


def dynamo_tensorrt_converter(
    key: Any,
    *,
    enabled: bool = True,
    capability_validator: Callable[..., bool] | None = None,
    priority: ConverterPriority = ConverterPriority.STANDARD,
    supports_dynamic_shapes: bool = False,
    requires_output_allocator: bool = False,
    requires_native_multidevice: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function `(ctx, target, args, kwargs, name)` as the converter of an operator.

    Args:
        key: the operator, or a packet of such.
        enabled: whether it is registered at all.
        capability_validator: `(node, settings)` says whether it takes a call; others stay in PyTorch.
        priority: as there; here the one that was registered last is asked, before those of this package.
        supports_dynamic_shapes: whether it takes calls with sizes that vary.
        requires_output_allocator: as there; results whose sizes only a call tells need nothing here.
        requires_native_multidevice: as there; an engine runs on one GPU here.
    """
    overloads = overloads_of([key])
    rules = [] if supports_dynamic_shapes else [Condition("TP203", "all sizes are static", _varying)]
    if capability_validator is not None:
        rules.append(_validated(capability_validator))

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if enabled:
            REGISTERED.items.append(Converter(overloads, _adapted(function), tuple(rules), composite=True))
        return function

    return register


def _varying(call: Call) -> str | None:
    for name, tensor in call.tensors.items():
        if any(not isinstance(size, int) for size in tensor.shape):
            return f"{call.op}: {name} has sizes that vary, and its converter was registered for static ones"
    return None


def _validated(validator: Callable[..., bool]) -> Condition:
    def check(call: Call) -> str | None:
        try:
            taken = validator(call.node, CompilationSettings())
        except TypeError:
            taken = validator(call.node)
        return None if taken else f"{call.op}: its capability_validator does not take this call"

    return Condition("TP205", "its capability_validator takes the call", check)


def _adapted(function: Callable[..., Any]) -> Callable[[ConverterContext, Call], Any]:
    def convert(ctx: ConverterContext, call: Call) -> Any:
        theirs = ConversionContext(ctx.network, CompilationSettings(), ctx)

        def given(argument: Any) -> Any:
            return _given(theirs, argument)

        args = torch.fx.node.map_aggregate(call.node.args, given)
        kwargs = torch.fx.node.map_aggregate(call.node.kwargs, given)
        before = ctx.network.num_layers
        made = function(theirs, call.node.target, args, kwargs, call.node.name)
        for index in range(before, ctx.network.num_layers):
            layer = ctx.network.get_layer(index)
            if layer.name not in ctx.layer_nodes:  # blocks name theirs
                ctx.enter(layer)
        if isinstance(call.out, torch.Tensor):
            return _result(ctx, made[0] if isinstance(made, list | tuple) else made, call.out)
        return tuple(_result(ctx, item, value) for item, value in zip(made, call.out, strict=True))

    return convert


def _given(theirs: ConversionContext, argument: Any) -> Any:
    """An argument as such converters take it: weights as PyTorch's tensors, what is computed as TensorRT's."""
    if not isinstance(argument, Node):
        return argument
    ctx, value = theirs.own, argument.meta.get("val")
    weight = ctx.constant_value(argument)
    if weight is not None:
        return weight.detach().cpu()
    if isinstance(value, int):
        return value
    made = ctx.tensor(argument).trt
    return theirs.noted(made, value) if isinstance(value, torch.Tensor) else made


def _result(ctx: ConverterContext, made: Any, value: torch.Tensor) -> Tensor:
    if isinstance(made, torch.Tensor):
        return ctx.constant(made)
    if not hasattr(made, "is_network_input"):
        raise InvalidType(f"a converter returned a {type(made).__name__}: it must return tensors of the network.")
    return ctx.check(made, dims_of(value.shape))


def get_trt_tensor(
    ctx: ConversionContext, input_val: Any, name: str, dtype: Any = None, min_rank: int = 0, **more: Any
) -> Any:
    """A tensor of the network for a number, a tensor of PyTorch's or NumPy's, or one of the network already.

    Args:
        ctx: what the converter was given.
        input_val: what to make a tensor of.
        name: what it is for.
        dtype: that it must have, if it is no tensor of the network.
        min_rank: dimensions that it must have at least; ones are put in front.
        more: as there.
    """
    if hasattr(input_val, "is_network_input"):
        return input_val
    tensor = input_val if isinstance(input_val, torch.Tensor) else torch.as_tensor(input_val)
    if dtype is not None:
        tensor = tensor.to(DType._from(dtype).to(torch.dtype))
    elif tensor.dtype == torch.float64:
        tensor = tensor.float()  # NumPy's and Python's usual type, which TensorRT lacks
    tensor = tensor.reshape((1,) * max(0, min_rank - tensor.dim()) + tuple(tensor.shape))
    return ctx.own.constant(tensor, name.rpartition(".")[2] or "constant").trt


def set_layer_name(layer: Any, target: Any, name: str, source_ir: Any = None, is_acc: bool = True) -> None:
    """Nothing: layers are named after their node when the converter is done."""
