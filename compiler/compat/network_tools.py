"""Functions on tensors of a network beside building blocks, which Torch-TensorRT's converters are written with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from ..ir.text import type_text
from ..tensorrt.dtypes import from_trt
from ..tensorrt.loader import load
from .building_blocks import converted
from .conversion_context import ConversionContext
from .converter_tools import cast_trt_tensor, prepend_ones
from .converters import get_trt_tensor
from .mistakes import InvalidType, InvalidValue

aten = torch.ops.aten


def args_bounds_check(args: Sequence[Any], i: int, replacement: Any = None) -> Any:
    """The argument at a place; `replacement` if there are not as many, or it is None."""
    return args[i] if len(args) > i and args[i] is not None else replacement


def calculate_strides(shape: Sequence[int]) -> list[int]:
    """How far apart elements of a contiguous tensor are, for each of its dimensions."""
    strides = [1] * len(shape)
    for place in range(len(shape) - 2, -1, -1):
        strides[place] = strides[place + 1] * shape[place + 1]
    return strides


def cast_int_or_float_to_bool(ctx: ConversionContext, name: str, tensor: Any) -> Any:
    """A tensor of the network as truths; one of truths as it is."""
    return cast_trt_tensor(ctx, tensor, torch.bool, name)


def cast_int_int_div_trt_tensor(ctx: ConversionContext, lhs_val: Any, rhs_val: Any, name: str) -> list[Any]:
    """Two tensors as float32, if both hold whole numbers, for a division."""
    if any(from_trt(tensor.dtype).is_floating_point for tensor in (lhs_val, rhs_val)):
        return [lhs_val, rhs_val]
    return [cast_trt_tensor(ctx, tensor, torch.float32, name) for tensor in (lhs_val, rhs_val)]


def promote_trt_tensors_to_same_dtype(ctx: ConversionContext, lhs: Any, rhs: Any, name_prefix: str) -> tuple[Any, Any]:
    """Two tensors as the type that PyTorch computes in for both."""
    wanted = torch.promote_types(from_trt(lhs.dtype), from_trt(rhs.dtype))
    return cast_trt_tensor(ctx, lhs, wanted, name_prefix), cast_trt_tensor(ctx, rhs, wanted, name_prefix)


def broadcast(
    ctx: ConversionContext, a: Any, b: Any, a_name: str, b_name: str, preset_diff: int = 0
) -> tuple[Any, Any]:
    """Two tensors with as many dimensions: ones are put in front of the sizes of the one with fewer.

    Args:
        ctx: what the converter was given.
        a, b: the tensors.
        a_name, b_name: what they are.
        preset_diff: how many dimensions `a` has more than `b` in the end.
    """
    missing = len(a.shape) - len(b.shape) - preset_diff
    if missing > 0:
        b = prepend_ones(ctx, b, f"{b_name}_broadcast", missing)
    elif missing < 0:
        a = prepend_ones(ctx, a, f"{a_name}_broadcast", -missing)
    return a, b


def broadcast_to_same_shape(
    ctx: ConversionContext, target: Any, source_ir: Any, name: str, lhs_val: Any, rhs_val: Any
) -> tuple[Any, Any]:
    """Two tensors of the shape that PyTorch broadcasts both to; sizes must be known.

    Raises:
        ValueError: they cannot be broadcast.
    """
    try:
        shape = torch.broadcast_shapes(tuple(lhs_val.shape), tuple(rhs_val.shape))  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise InvalidValue(f"{tuple(lhs_val.shape)} and {tuple(rhs_val.shape)} cannot be broadcast: {error}.") from None
    wanted = [
        tensor if tuple(tensor.shape) == shape else converted(ctx, aten.expand.default, (tensor, list(shape)), {})
        for tensor in (lhs_val, rhs_val)
    ]
    return wanted[0], wanted[1]


def append(
    ctx: ConversionContext, target: Any, source_ir: Any, name: str, original_tensor: Any, new_value: Any, dim: int = 0
) -> Any:
    """A tensor with a value, or another tensor, behind it along a dimension."""
    value = _alike(ctx, name, original_tensor, new_value)
    return converted(ctx, aten.cat.default, ([original_tensor, value], dim), {})


def set_item(
    ctx: ConversionContext, target: Any, source_ir: Any, name: str, original_tensor: Any, index: int, new_value: Any
) -> Any:
    """A tensor of one dimension with another value at a place; behind it, if it is shorter."""
    size = original_tensor.shape[0]
    index = index + size if index < 0 else index
    value = _alike(ctx, name, original_tensor, new_value)
    parts = [(0, index), None, (index + 1, size)] if index < size else [(0, size), None]
    pieces = [
        value if part is None else converted(ctx, aten.slice.Tensor, (original_tensor, 0, *part), {})
        for part in parts
        if part is None or part[0] < part[1]
    ]
    return converted(ctx, aten.cat.default, (pieces, 0), {})


def _alike(ctx: ConversionContext, name: str, tensor: Any, value: Any) -> Any:
    """A value as a tensor of the type of another, with at least one dimension."""
    kind = from_trt(tensor.dtype)
    if hasattr(value, "is_network_input"):
        value = cast_trt_tensor(ctx, value, kind, name)
        return value if len(value.shape) else prepend_ones(ctx, value, name, 1)
    return get_trt_tensor(ctx, torch.as_tensor(value).to(kind), name, min_rank=1)


def to_trt_weights(ctx: ConversionContext, value: Any, name: str, *others: Any, **more: Any) -> Any:
    """A tensor of PyTorch's, or an array, as `tensorrt.Weights`, for layers that take such.

    Args:
        ctx: what the converter was given.
        value: the weights.
        name: what they are.
        others, more: as there: what layer they are for.
    """
    tensor = torch.as_tensor(value).detach().cpu().contiguous()
    if tensor.dtype is torch.bfloat16:
        raise InvalidType(f"{name} is bfloat16, which NumPy has not: use create_constant.")
    ctx.own.kept_alive.append(tensor)  # TensorRT reads them when it builds
    return load().module.Weights(tensor.numpy())


def get_node_io(node: Node, constant_mapping: Mapping[str, tuple[Sequence[int], str]]) -> str:
    """What a node takes and gives, with shapes and types, as a line of text.

    Args:
        node: the node.
        constant_mapping: shapes and types of weights, by the names of their nodes.
    """

    def said(item: Node) -> str:
        if item.name in constant_mapping:
            shape, kind = constant_mapping[item.name]
            return f"{item.name} {tuple(shape)}@{kind}"
        values = pytree.tree_leaves(item.meta.get("val"))
        return f"{item.name} {', '.join(type_text(value) for value in values if value is not None)}".strip()

    return f"({', '.join(map(said, node.all_input_nodes))}) -> {said(node)}"
