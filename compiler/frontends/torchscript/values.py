"""What TorchScript does with numbers, sizes, texts and containers, in Python, where sizes stay symbolic."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

_DTYPES = (
    *("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex32", "complex64"),
    *("complex128", "bool", "qint8", "quint8", "qint32", "bfloat16", "quint4x2", "quint2x4", "", "", "", "", ""),
    *("float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz", "float8_e4m3fnuz", "uint16", "uint32", "uint64"),
)
_MEMORY_FORMATS = (torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d)
_LAYOUTS = (torch.strided,)


def dtype_of(number: int) -> torch.dtype:
    """The data type that TorchScript has as a number."""
    found: torch.dtype = getattr(torch, _DTYPES[number])
    return found


def number_of(dtype: torch.dtype) -> int:
    """The number that TorchScript has for a data type."""
    return _DTYPES.index(str(dtype).removeprefix("torch."))


ENUMS: Mapping[str, Callable[[int], Any]] = MappingProxyType(
    {"ScalarType": dtype_of, "MemoryFormat": _MEMORY_FORMATS.__getitem__, "Layout": _LAYOUTS.__getitem__}
)
"""Types of arguments that TorchScript passes as numbers, and what they stand for."""


def to_int(value: Any) -> Any:
    """`int(value)` of a number, text, or tensor of one element."""
    if isinstance(value, torch.Tensor):
        return to_int(value.item())
    convert: Any = torch.sym_int
    return convert(value) if isinstance(value, torch.SymFloat | torch.SymInt | float) else int(value)


def to_float(value: Any) -> Any:
    """`float(value)`, likewise."""
    if isinstance(value, torch.Tensor):
        return to_float(value.item())
    convert: Any = torch.sym_float
    return convert(value) if isinstance(value, torch.SymInt | torch.SymFloat) else float(value)


def to_bool(value: Any) -> Any:
    """`bool(value)`; that of a tensor which is being traced is a tensor."""
    if isinstance(value, torch.Tensor):
        return value.reshape([]).to(torch.bool) if torch.compiler.is_exporting() else bool(value)
    return value != 0 if isinstance(value, torch.SymInt | torch.SymFloat) else bool(value)


def negated(value: Any) -> Any:
    """`not value`."""
    if isinstance(value, torch.Tensor):
        return torch.logical_not(value)
    negation: Any = torch.sym_not
    return negation(value) if isinstance(value, torch.SymBool) else not value


def _largest(*values: Any) -> Any:
    return functools.reduce(torch.sym_max, values[0] if len(values) == 1 else values)


def _least(*values: Any) -> Any:
    return functools.reduce(torch.sym_min, values[0] if len(values) == 1 else values)


def _equal(first: Any, second: Any) -> Any:
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(bool(a == b) for a, b in zip(first, second, strict=True))
    return first == second


def _unequal(first: Any, second: Any) -> Any:
    return not _equal(first, second) if isinstance(first, list | tuple) else first != second


def _contains(items: Any, item: Any) -> Any:
    if isinstance(item, torch.SymInt | torch.SymFloat):
        return functools.reduce(operator.or_, [item == other for other in items], False)
    return item in items


def _length(value: Any) -> Any:
    return value.size(0) if isinstance(value, torch.Tensor) else len(value)


def _range_length(low: Any, high: Any, step: Any) -> Any:
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int):
        return len(range(low, high, step))
    return _largest((high - low + step - (1 if step > 0 else -1)) // step, 0)


def _slice(items: Any, start: Any, end: Any, step: Any) -> Any:
    return items[slice(start, end, step)]


def _set_item(items: Any, index: Any, value: Any) -> Any:
    items[index] = value
    return items


def _append(items: list[Any], item: Any) -> Any:
    items.append(item)
    return items


def _extend(items: list[Any], more: Sequence[Any]) -> Any:
    items.extend(more)
    return items


def _copied(items: Any) -> Any:
    return dict(items) if isinstance(items, dict) else list(items)


def _raised(base: Any, exponent: Any) -> Any:
    power = base**exponent
    return to_float(power) if isinstance(power, torch.SymInt) else power


def _made_float(function: Callable[[float], Any]) -> Callable[[Any], Any]:
    """A function of Python's math, which knows no symbolic numbers."""
    symbolic: Any = getattr(torch, f"_sym_{function.__name__}", None)

    def call(value: Any) -> Any:
        if isinstance(value, torch.SymInt | torch.SymFloat):
            if symbolic is None:
                raise NotImplementedError(f"math.{function.__name__} of a size")
            return symbolic(value)
        return function(value)

    return call


def _whole(rounding: Callable[[float], Any]) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, torch.SymInt) else rounding(value)


def _rounded(value: Any) -> Any:
    return to_float(value) if isinstance(value, torch.SymInt) else to_float(round(value))


def tensor_of(data: Any, dtype: int | None, device: Any, requires_grad: bool = False) -> torch.Tensor:
    """`torch.tensor` of numbers, sizes, and lists of them."""
    kind = None if dtype is None else dtype_of(dtype)
    if isinstance(data, torch.Tensor):
        return data.to(dtype=kind, device=device, copy=True)
    if isinstance(data, list) and any(isinstance(item, list | tuple) for item in data):
        return torch.stack([tensor_of(item, dtype, device) for item in data])
    if isinstance(data, list) and any(isinstance(item, torch.SymInt | torch.SymFloat) for item in data):
        return torch.stack([tensor_of(item, dtype, device) for item in data])
    if isinstance(data, torch.SymInt | torch.SymFloat):
        natural = torch.int64 if isinstance(data, torch.SymInt) else torch.get_default_dtype()
        return torch.ops.aten.scalar_tensor.default(data, dtype=kind or natural, device=device)  # type: ignore[no-any-return]
    return torch.tensor(data, dtype=kind, device=device)


def _as_tensor(data: Any, dtype: int | None = None, device: Any = None) -> torch.Tensor:
    if isinstance(data, torch.Tensor):
        return data.to(dtype=data.dtype if dtype is None else dtype_of(dtype), device=device or data.device)
    return tensor_of(data, dtype, device)


def _moved(value: torch.Tensor, *options: Any) -> torch.Tensor:
    """`Tensor.to` in the forms that TorchScript has besides those of ATen: of a device, of a data type, of both."""
    device = next((option for option in options if isinstance(option, torch.device | str)), None)
    dtype = next((option for option in options if isinstance(option, int) and not isinstance(option, bool)), None)
    copy = [option for option in options if isinstance(option, bool)][-1]
    return value.to(device=device, dtype=None if dtype is None else dtype_of(dtype), copy=copy)


VALUES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "aten::add": operator.add,
        "aten::sub": operator.sub,
        "aten::mul": operator.mul,
        "aten::floordiv": operator.floordiv,
        "aten::div": operator.truediv,
        "aten::remainder": operator.mod,
        "aten::mathremainder": math.remainder,
        "aten::fmod": math.fmod,
        "aten::neg": operator.neg,
        "aten::pow": _raised,
        "aten::eq": _equal,
        "aten::ne": _unequal,
        "aten::lt": operator.lt,
        "aten::le": operator.le,
        "aten::gt": operator.gt,
        "aten::ge": operator.ge,
        "aten::__and__": operator.and_,
        "aten::__or__": operator.or_,
        "aten::__xor__": operator.xor,
        "aten::__lshift__": operator.lshift,
        "aten::__rshift__": operator.rshift,
        "aten::__not__": negated,
        "aten::__is__": operator.is_,
        "aten::__isnot__": operator.is_not,
        "aten::floor": _whole(math.floor),
        "aten::ceil": _whole(math.ceil),
        "aten::round": _rounded,
        **{
            f"aten::{function.__name__}": _made_float(function)
            for function in (math.sqrt, math.exp, math.log, math.sin, math.cos, math.tanh, math.isnan, math.isinf)
        },
        "prim::max": _largest,
        "prim::min": _least,
        "prim::abs": abs,
        "aten::Int": to_int,
        "aten::IntImplicit": to_int,
        "aten::Float": to_float,
        "aten::FloatImplicit": to_float,
        "aten::ScalarImplicit": torch.Tensor.item,
        "aten::Bool": to_bool,
        "aten::sum": sum,
        "aten::all": all,
        "aten::any": any,
        "aten::len": _length,
        "aten::__range_length": _range_length,
        "aten::__derive_index": lambda index, low, step: low + index * step,
        "aten::__contains__": _contains,
        "aten::__getitem__": operator.getitem,
        "aten::_set_item": _set_item,
        "aten::append": _append,
        "aten::extend": _extend,
        "aten::add_": _extend,
        "aten::insert": lambda items, index, item: items.insert(index, item),
        "aten::pop": lambda items, *where: items.pop(*where),
        "aten::clear": lambda items: items.clear(),
        "aten::reverse": lambda items: items.reverse(),
        "aten::Delete": operator.delitem,
        "aten::slice": _slice,
        "aten::select": operator.getitem,
        "aten::copy": _copied,
        "aten::list": list,
        "aten::dict": dict,
        "aten::keys": lambda items: list(items.keys()),
        "aten::values": lambda items: list(items.values()),
        "aten::items": lambda items: list(items.items()),
        "aten::get": lambda items, key, default=None: items.get(key, default),
        "aten::update": lambda items, more: items.update(more),
        "aten::index": lambda items, item, *_: items.index(item),
        "aten::count": lambda items, item, *_: items.count(item),
        "aten::tensor": tensor_of,
        "aten::as_tensor": _as_tensor,
        "aten::to": _moved,
        "aten::cpu": lambda value: value.to("cpu"),
        "aten::warn": lambda *_: None,
        "aten::_unwrap_optional": lambda value: value,
        "aten::device": torch.device,
        "aten::is_grad_enabled": lambda: False,
        "aten::is_autocast_enabled": lambda: False,
        "aten::is_autocast_cpu_enabled": lambda: False,
        "aten::is_scripting": lambda: True,
        "aten::_get_tracing_state": lambda: False,
        "aten::has_torch_function": lambda *_: False,
        "aten::dequantize": torch.dequantize,
        "aten::size": lambda value: list(value.size()),
        "aten::stride": lambda value: list(value.stride()),
        "aten::element_size": torch.Tensor.element_size,
        "prim::NumToTensor": lambda value: tensor_of(value, None, None),
        "prim::dtype": lambda value: number_of(value.dtype),
        "prim::device": lambda value: value.device,
        "prim::layout": lambda value: _LAYOUTS.index(value.layout),
        "prim::data": torch.Tensor.detach,
        "prim::is_cuda": lambda value: value.is_cuda,
        "prim::is_cpu": lambda value: value.is_cpu,
        "prim::is_quantized": lambda value: value.is_quantized,
        "prim::is_sparse": lambda value: value.is_sparse,
        "prim::is_nested": lambda value: value.is_nested,
        "prim::type": lambda device: device.type,
        "prim::index": lambda device: device.index,
        "prim::itemsize": lambda value: value.itemsize,
        **{f"prim::is_{kind}": lambda _: False for kind in ("xpu", "mps", "vulkan", "ipu", "maia", "mtia")},
        "prim::is_mkldnn": lambda _: False,
        "prim::is_meta": lambda _: False,
        "prim::requires_grad": lambda value: value.requires_grad,
        "prim::EnumName": lambda member: member.name,
        "prim::EnumValue": lambda member: member.value,
        "prim::rangelist": lambda length: list(range(length)),
        "prim::unchecked_cast": lambda value: value,
        "prim::unchecked_unwrap_optional": lambda value: value,
        "prim::Uninitialized": lambda: None,
        "prim::ListConstruct": lambda *items: list(items),
        "prim::TupleConstruct": lambda *items: items,
        "prim::TupleIndex": operator.getitem,
        "prim::DictConstruct": lambda *items: dict(zip(items[::2], items[1::2], strict=True)),
    }
)
"""Operators that TorchScript has of its own, by name. Some of these names are also those of operators of ATen.

They are for sizes and tensors, of which a graph knows no number, and for containers. The others are in `native.py`.
"""

_ON_CONTAINERS = frozenset(
    f"aten::{name}"
    for name in (
        *("append", "__getitem__", "list", "extend", "insert", "pop", "_set_item", "copy", "reverse", "clear", "slice"),
        *("keys", "values", "items", "get", "update", "dict", "Delete"),
    )
)


def is_on_container(kind: str, values: Sequence[Any]) -> bool:
    """Whether an operator hands on what is in a container; those on tensors that have the same name do not."""
    return kind in _ON_CONTAINERS and bool(values) and isinstance(values[0], list | dict | tuple)
