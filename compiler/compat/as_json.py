"""`Input`s and options as JSON, which can be read without running code."""

from __future__ import annotations

from enum import Enum
from typing import Any

import torch

from .compilation_settings import CompilationSettings
from .device import Device
from .enums import DeviceType, EngineCapability, dtype, memory_format
from .input import Input

_ENUMS = {kind.__name__: kind for kind in (dtype, memory_format, EngineCapability, DeviceType)}
_KIND = "is"


def as_json(value: Any) -> Any:
    """A value as JSON has it; what has no form there as its text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Enum) and type(value).__name__ in _ENUMS:
        return {_KIND: type(value).__name__, "name": value.name}
    if isinstance(value, torch.dtype):
        return {_KIND: "torch.dtype", "name": str(value).removeprefix("torch.")}
    if isinstance(value, Device):
        fallback = value.allow_gpu_fallback
        return {
            _KIND: "Device",
            "kind": value.device_type.name,
            "numbers": [value.gpu_id, value.dla_core],
            "any": fallback,
        }
    if isinstance(value, Input):
        fields = {
            "dtype": value.dtype,
            "format": value.format,
            "tensor_domain": value.tensor_domain,
            "name": value.name,
        }
        if value.profiles:
            fields["profiles"] = value.profiles
        else:
            fields |= value.shape if isinstance(value.shape, dict) else {"shape": value.shape}
        return {_KIND: "Input", "fields": as_json(fields)}
    if isinstance(value, CompilationSettings):
        return {_KIND: "CompilationSettings", "fields": as_json(value.options())}
    if isinstance(value, set | frozenset):
        return {_KIND: "set", "items": sorted(map(as_json, value), key=str)}
    if isinstance(value, dict):
        return {_KIND: "dict", "items": [[as_json(key), as_json(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {
            _KIND: type(value).__name__ if type(value) in (list, tuple) else "list",
            "items": [*map(as_json, value)],
        }
    return str(value)


def from_json(value: Any) -> Any:
    """The value that `as_json` was given.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it gave nothing like this.
    """
    if not isinstance(value, dict):
        return value
    kind = value[_KIND]
    if kind in _ENUMS:
        return _ENUMS[kind][value["name"]]
    if kind == "torch.dtype":
        found = getattr(torch, str(value["name"]))
        if not isinstance(found, torch.dtype):
            raise ValueError(f"{value['name']} is no data type")
        return found
    if kind == "Device":
        device = Device(gpu_id=int(value["numbers"][0]), allow_gpu_fallback=bool(value["any"]))
        device.device_type, device.dla_core = DeviceType[value["kind"]], int(value["numbers"][1])
        return device
    if kind == "Input":
        return Input(**from_json(value["fields"]))
    if kind == "CompilationSettings":
        return CompilationSettings(**from_json(value["fields"]))
    items = value["items"]
    if kind == "dict":
        return {from_json(key): from_json(item) for key, item in items}
    return {"set": set, "list": list, "tuple": tuple}[kind](map(from_json, items))
