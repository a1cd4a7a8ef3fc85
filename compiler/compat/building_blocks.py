"""The building blocks of Torch-TensorRT's converters (`conversion.impl`), made of this package's own converters."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

from ..errors import did_you_mean
from ..ir.call import Call
from ..tensorrt.tensor import Tensor
from .conversion_context import ConversionContext
from .mistakes import InvalidType, NotPossible

_NAMES = {
    "input_val": "self",
    "input": "self",
    "lhs_val": "self",
    "rhs_val": "other",
    "permutation": "dims",
    "shape": "size",
    "repeats": "repeats",
    "axis": "dim",
}
"""What Torch-TensorRT calls an argument, by its name in PyTorch's schemas."""

_BLOCKS: Mapping[str, Mapping[str, str]] = {
    "elementwise": {
        **{name: f"{name}.Tensor" for name in ("add", "sub", "mul", "div", "eq", "ne", "gt", "lt", "ge", "le")},
        **{"pow": "pow.Tensor_Tensor", "floor_divide": "floor_divide.default", "remainder": "remainder.Tensor"},
        **{"max": "maximum.default", "min": "minimum.default", "fmod": "fmod.Tensor", "atan2": "atan2.default"},
        **{f"logical_{name}": f"logical_{name}.default" for name in ("and", "or", "xor")},
        **{f"bitwise_{name}": f"bitwise_{name}.Tensor" for name in ("and", "or", "xor")},
        **{"clamp": "clamp.default", "trunc_div": "div.Tensor_mode"},
    },
    "unary": {
        name: f"{name}.default"
        for name in (
            *("exp", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "abs", "neg", "sign"),
            *("sin", "cos", "tan", "sinh", "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh", "erf"),
            *("ceil", "floor", "round", "trunc", "logical_not", "bitwise_not", "isinf", "isnan"),
        )
    },
    "activation": {
        name: f"{name}.default"
        for name in (
            *("relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "softplus", "hardsigmoid", "hardtanh", "gelu"),
        )
    },
    "reduce": {
        **{"sum": "sum.dim_IntList", "mean": "mean.dim", "amax": "amax.default", "amin": "amin.default"},
        **{"prod": "prod.dim_int", "any": "any.dim", "all": "all.dim"},
    },
    "matmul": {"matrix_multiply": "matmul.default"},
    "linear": {"linear": "linear.default"},
    "addmm": {"addmm": "addmm.default"},
    "shuffle": {"reshape": "reshape.default"},
    "permutation": {"permute": "permute.default", "roll": "roll.default"},
    "squeeze": {"squeeze": "squeeze.dim"},
    "unsqueeze": {"unsqueeze": "unsqueeze.default"},
    "cat": {"cat": "cat.default"},
    "slice": {"slice_op": "slice.Tensor", "expand": "expand.default", "tile": "repeat.default"},
    "select": {"select": "select.int", "gather": "gather.default", "index_select": "index_select.default"},
    "embedding": {"embedding": "embedding.default"},
    "condition": {"where": "where.self"},
    "cast": {"to_copy": "_to_copy.default", "clone": "clone.default"},
    "normalization": {
        **{"softmax": "_softmax.default", "log_softmax": "_log_softmax.default"},
        **{"layer_norm": "layer_norm.default", "group_norm": "group_norm.default"},
    },
    "conv": {"convNd": "convolution.default"},
    "topk": {"argmax": "argmax.default", "argmin": "argmin.default", "topk": "topk.default", "sort": "sort.default"},
    "upsample": {"upsample": "upsample_nearest2d.vec"},
    "grid": {"grid": "grid_sampler_2d.default"},
}
"""The operator of `torch.ops.aten` that each block is, by module and name."""


class Blocks(types.ModuleType):
    """A module of `impl`: each of its functions takes `(ctx, target, source_ir, name, …)` and the operator's arguments.

    A block is what this package's converter of the operator does; its result is a tensor of the network.
    """

    def __getattr__(self, name: str) -> Any:
        kind = self.__name__.rpartition(".")[2]
        known = _BLOCKS[kind]
        if name not in known:
            if name.startswith("__"):
                raise AttributeError(name)
            raise AttributeError(f"impl.{kind} has no {name!r} here.{did_you_mean(name, known)}")
        packet, _, overload = known[name].partition(".")
        operator = getattr(getattr(torch.ops.aten, packet), overload)

        def block(ctx: ConversionContext, target: Any, source_ir: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            return converted(ctx, operator, args, {_NAMES.get(key, key): value for key, value in kwargs.items()})

        block.__name__ = block.__qualname__ = name
        return block


def blocks(parent: str) -> dict[str, Blocks]:
    """The modules of `impl`, by name."""
    return {name: Blocks(f"{parent}.{name}") for name in _BLOCKS}


def converted(ctx: ConversionContext, operator: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """What an operator gives for tensors of a network, PyTorch's tensors and numbers, as a tensor of the network.

    Args:
        ctx: what the converter was given.
        operator: an overload.
        args, kwargs: its arguments, by place and by name in its schema.

    Raises:
        TypeError: it has no such arguments.
        RuntimeError: TensorRT cannot take this call, with the reasons.
    """
    known = {argument.name for argument in operator._schema.arguments}
    for name in kwargs:
        if name not in known:
            raise InvalidType(f"{operator} has no argument {name!r}.{did_you_mean(name, known)}")
    graph, kept = Graph(), list[str]()

    def node_of(value: Any) -> Any:
        if not (isinstance(value, torch.Tensor) or hasattr(value, "is_network_input")):
            return value
        node = graph.placeholder(f"block_{ctx.next_number()}")
        node.meta["val"] = ctx.value_of(value)
        if isinstance(value, torch.Tensor):
            ctx.own.lend_constant(node.name, value)
        else:
            ctx.own.bind(node.name, Tensor(value, node.meta["val"].dtype, ctx.dims_of(node.meta["val"])))
        kept.append(node.name)
        return node

    bound, named = (pytree.tree_map(node_of, item) for item in (args, dict(kwargs)))
    bound, named = _with_tensors(operator, bound, named, node_of)
    call = graph.call_function(operator, tuple(bound), named)
    call.meta["val"] = ctx.result_of(operator, *pytree.tree_map(_value, (tuple(bound), named)))
    try:
        made = _converted(ctx, Call(call))
    finally:
        ctx.own.forget(kept)
    values = call.meta["val"]
    if isinstance(values, torch.Tensor):
        return ctx.noted(made.trt, values)
    return tuple(None if item is None else ctx.noted(item.trt, value) for item, value in zip(made, values, strict=True))


def _with_tensors(operator: Any, args: Any, kwargs: Any, node_of: Any) -> tuple[Any, Any]:
    """The same arguments, a number where the first one is a tensor as a tensor of the others' type."""
    first = operator._schema.arguments[0]
    place: Any = kwargs if first.name in kwargs else list(args)
    key: Any = first.name if first.name in kwargs else 0
    value = place[key] if place else None
    if str(first.type) == "Tensor" and isinstance(value, int | float):
        others = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Node)]
        dtype = others[0].meta["val"].dtype if others else None
        place[key] = node_of(torch.tensor(value, dtype=dtype))
    return (args, place) if place is kwargs else (place, kwargs)


def _value(leaf: Any) -> Any:
    return leaf.meta["val"] if isinstance(leaf, Node) else leaf


def _converted(ctx: ConversionContext, call: Call) -> Any:
    converter = ctx.registry.get(call.target)
    if converter is None:
        raise NotPossible(f"{call.op} has no converter: add TensorRT's layers to ctx.net instead.")
    reasons = converter.violations(call)
    if reasons:
        raise NotPossible("; ".join(reason.message for reason in reasons))
    variant = converter.chosen(call, lambda item: ctx.own.constant_value(item) is not None)
    return (converter.convert if variant is None else variant.convert)(ctx.own, call)
