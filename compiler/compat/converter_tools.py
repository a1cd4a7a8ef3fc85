"""What Torch-TensorRT's converters are written with beside building blocks: small functions of `converter_utils`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from .conversion_context import ConversionContext
from .converters import get_trt_tensor
from .enums import dtype as DType
from .mistakes import InvalidType, InvalidValue


def get_positive_dim(dim: int | Sequence[int], dim_size: int) -> int | tuple[int, ...]:
    """The same dimension or dimensions, counted from the front.

    Args:
        dim: as PyTorch takes them: negative ones count from the end.
        dim_size: the number of dimensions.
    """
    if isinstance(dim, int):
        return dim % dim_size
    return tuple(item % dim_size for item in dim)


def get_axes_for_reduce_op(dim: int | Sequence[int]) -> int:
    """The bits of dimensions, which reductions of TensorRT take."""
    return sum(1 << item for item in {*((dim,) if isinstance(dim, int) else dim)})


def broadcastable(a: Any, b: Any) -> bool:
    """Whether two tensors have shapes that can be broadcast; of sizes that vary (-1) nothing is known, which counts."""
    sizes = zip(reversed(tuple(a.shape)), reversed(tuple(b.shape)), strict=False)
    return all(one == other or 1 in (one, other) or -1 in (one, other) for one, other in sizes)


def has_dynamic_shape(shape: Sequence[int]) -> bool:
    """Whether any size of a shape of the network varies, which is -1 there."""
    return any(size == -1 for size in shape)


def extend_attr_to_tuple(val: Any, num_elem: int) -> tuple[Any, ...]:
    """A number as a tuple of that many; a sequence of one likewise.

    Raises:
        ValueError: a sequence has another length.
    """
    items = tuple(val) if isinstance(val, list | tuple) else (val,)
    items = items * num_elem if len(items) == 1 else items
    if len(items) != num_elem:
        raise InvalidValue(f"{val!r} has {len(items)} items: give 1 or {num_elem}.")
    return items


def to_numpy(value: Any, dtype: Any = None) -> np.ndarray[Any, Any] | None:
    """A number, sequence or tensor of PyTorch's as an array, of a type that may be given; None for None."""
    if value is None:
        return None
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    return array if dtype is None else array.astype(DType._from(dtype).to(np.dtype))


def to_torch(value: Any, dtype: Any = None) -> torch.Tensor | None:
    """A number, sequence or array as a tensor on the CPU, of a type that may be given; None for None."""
    if value is None:
        return None
    tensor = torch.as_tensor(value).cpu()
    return tensor if dtype is None else tensor.to(DType._from(dtype).to(torch.dtype))


def create_constant(
    ctx: ConversionContext, value: Any, name: str, dtype: Any = None, min_rank: int = 1, **more: Any
) -> Any:
    """A constant of the network."""
    return get_trt_tensor(ctx, to_torch(value, dtype), name, min_rank=min_rank or 0)


def cast_trt_tensor(ctx: ConversionContext, input_val: Any, dtype: Any, name: str, *others: Any, **more: Any) -> Any:
    """A tensor of the network as another type.

    Args:
        ctx: what the converter was given.
        input_val: the tensor.
        dtype: the type, as PyTorch, TensorRT or `torch_tensorrt.dtype` has it.
        name: of the layer.
    """
    kind = DType._from(dtype).to(type(input_val.dtype))
    if input_val.dtype == kind:
        return input_val
    return ctx.net.add_cast(input_val, kind).get_output(0)


def flatten_dims(input: Any, start_dim: int, end_dim: int) -> tuple[int, ...]:
    """The shape of a tensor with some of its dimensions in one; -1 for a size that varies."""
    shape = tuple(input.shape)
    first, last = get_positive_dim(start_dim, len(shape)), get_positive_dim(end_dim, len(shape))
    assert isinstance(first, int)
    assert isinstance(last, int)
    inside = shape[first : last + 1]
    return (*shape[:first], -1 if -1 in inside else int(np.prod(inside)), *shape[last + 1 :])


def prepend_ones(ctx: ConversionContext, tensor: Any, name: str, num_prepend_ones: int) -> Any:
    """A tensor of the network with ones in front of its sizes."""
    axes = ctx.own.constant(torch.arange(num_prepend_ones, dtype=torch.int64), "axes").trt
    return ctx.net.add_unsqueeze(tensor, axes).get_output(0) if num_prepend_ones else tensor


def enforce_tensor_types(
    type_dictionary: dict[int | str, tuple[Any, ...]], promote: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let the decorated converter be given arguments of some types only.

    Args:
        type_dictionary: the types of an argument, by its place or name: `torch.Tensor`, `numpy.ndarray` or TensorRT's
            tensor.
        promote: make a tensor of another of these types from what is given instead; else that is an error.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def converted(ctx: Any, target: Any, args: Any, kwargs: Any, name: str) -> Any:
            args, kwargs = list(args), dict(kwargs)
            for key, kinds in type_dictionary.items():
                holder: Any = args if isinstance(key, int) else kwargs
                if key not in (range(len(args)) if isinstance(key, int) else kwargs):
                    continue
                if not isinstance(holder[key], kinds) and not promote:
                    raise InvalidType(f"argument {key!r} of {target} is a {type(holder[key]).__name__}.")
                if not isinstance(holder[key], kinds):
                    holder[key] = _as_one_of(ctx, holder[key], kinds, f"{name}_{key}")
            return function(ctx, target, tuple(args), kwargs, name)

        return converted

    return decorate


def _as_one_of(ctx: Any, value: Any, kinds: tuple[Any, ...], name: str) -> Any:
    if hasattr(value, "is_network_input"):
        raise InvalidType(f"{name} is computed in the network, and can be no {kinds[0].__name__}.")
    if torch.Tensor in kinds:
        return to_torch(value)
    return to_numpy(value) if np.ndarray in kinds else get_trt_tensor(ctx, value, name)


def get_node_name(node: Node) -> str:
    """What a node is called, with the place of its module if it has one."""
    stack = node.meta.get("nn_module_stack") or {}
    places = [str(item[0]) for item in stack.values()]
    return f"{places[-1]}/{node.name}" if places and places[-1] else node.name


def is_only_operator_on_placeholder(node: Node, settings: Any = None) -> bool:
    """Whether a node alone reads an input that it reads."""
    inputs = node.all_input_nodes
    return node.op == "call_function" and any(item.op == "placeholder" and len(item.users) == 1 for item in inputs)


def has_dynamic_shapes(node: Node) -> bool:
    """Whether sizes of what a node reads or makes vary."""
    values = [item.meta.get("val") for item in (node, *node.all_input_nodes)]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return any(not isinstance(size, int) for value in tensors for size in value.shape)


def has_static_shapes(node: Node) -> bool:
    """The opposite."""
    return not has_dynamic_shapes(node)


def has_dynamic_shapes_in_args(arg_positions_to_check: Sequence[int] | None = None) -> Callable[[Node], bool]:
    """A function that says whether sizes of a node's arguments vary, at some places or at any."""

    def check(node: Node) -> bool:
        places = range(len(node.args)) if arg_positions_to_check is None else arg_positions_to_check
        given = [node.args[place] for place in places if place < len(node.args)]
        values = [item.meta.get("val") for item in given if isinstance(item, Node)]
        return any(not isinstance(size, int) for value in values for size in getattr(value, "shape", ()))

    return check


def has_static_shapes_in_args(arg_positions_to_check: Sequence[int] | None = None) -> Callable[[Node], bool]:
    """The opposite."""
    varies = has_dynamic_shapes_in_args(arg_positions_to_check)
    return lambda node: not varies(node)
