"""Data types, memory formats and so on under the names that Torch-TensorRT has for them, and their conversions."""

from __future__ import annotations

import platform as this_machine
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import numpy as np
import torch

from ..tensorrt.loader import TensorRTNotFound, load
from .mistakes import InvalidType


class _Convertible(Enum):
    """An enumeration whose members stand for values of PyTorch, TensorRT and NumPy."""

    @classmethod
    def _from(cls, t: Any, use_default: bool = False) -> Any:
        """The member that stands for a value of PyTorch, TensorRT, NumPy or this enumeration.

        Args:
            t: what to look for.
            use_default: give the usual member for what has none, instead of raising.

        Raises:
            TypeError: no member stands for it.
        """
        found = cls.try_from(t)
        if found is not None:
            return found
        if use_default:
            return cls._usual()
        raise InvalidType(f"{t!r} is no {cls.__name__} that is known here: give one of {_names(cls)}.")

    @classmethod
    def try_from(cls, t: Any, use_default: bool = False) -> Any:
        """The same as `_from`, but None where no member stands for the value."""
        if isinstance(t, cls):
            return t
        for member in cls:
            if any(_same(t, known) for known in member._known()):
                return member
        return cls._usual() if use_default else None

    def to(self, t: Any, use_default: bool = False) -> Any:
        """What the member stands for, as a value of another type.

        Args:
            t: the type of the result, such as `torch.dtype`, `tensorrt.DataType` or `numpy.dtype`.
            use_default: give what the usual member stands for where this one stands for nothing of that type.

        Raises:
            TypeError: it stands for nothing of that type.
        """
        found = self.try_to(t, use_default)
        if found is None:
            raise InvalidType(f"{self!s} has no counterpart that is a {getattr(t, '__name__', t)}.")
        return found

    def try_to(self, t: Any, use_default: bool = False) -> Any:
        """The same as `to`, but None where the member stands for nothing of that type."""
        if t is type(self):
            return self
        for known in self._known():
            if isinstance(t, type) and isinstance(known, t):
                return known
        return self._usual().try_to(t) if use_default and self is not self._usual() else None

    @classmethod
    def _usual(cls) -> Any:
        return next(iter(cls))

    def _known(self) -> tuple[Any, ...]:
        return (self.value,)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, type(self)):
            return self is other
        return any(_same(other, known) for known in self._known())

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


def _names(kind: type[Enum]) -> str:
    return ", ".join(member.name for member in kind)


def _same(value: Any, known: Any) -> bool:
    return type(value) is type(known) and bool(value == known)


def _of_tensorrt(enumeration: str, name: str) -> tuple[Any, ...]:
    """A member of one of TensorRT's enumerations, if TensorRT is installed and has it."""
    try:
        module = load().module
    except TensorRTNotFound:
        return ()
    found = getattr(getattr(module, enumeration, None), name, None)
    return () if found is None else (found,)


# Members of enumerations are found by their values, so every value is a tuple of its own.
class dtype(_Convertible):
    """The type of a tensor's numbers.

    Members are called `f32`, `f16`, `i64` and so on; `float32`, `float`, `fp32`, `half`, `long` and such are other
    names of theirs. They compare equal to the types of PyTorch, TensorRT and NumPy that they stand for.
    """

    unknown = (None, "", "")
    u8 = (torch.uint8, "UINT8", "uint8")
    i8 = (torch.int8, "INT8", "int8")
    i32 = (torch.int32, "INT32", "int32")
    i64 = (torch.int64, "INT64", "int64")
    f16 = (torch.float16, "HALF", "float16")
    f32 = (torch.float32, "FLOAT", "float32")
    f64 = (torch.float64, "", "float64")
    b = (torch.bool, "BOOL", "bool")
    bf16 = (torch.bfloat16, "BF16", "")
    f8 = (torch.float8_e4m3fn, "FP8", "")
    f4 = (torch.float4_e2m1fn_x2, "FP4", "")

    uint8 = u8
    int8 = i8
    int32 = i32
    int = i32
    int64 = i64
    long = i64
    float16 = f16
    fp16 = f16
    half = f16
    float32 = f32
    fp32 = f32
    float = f32
    float64 = f64
    fp64 = f64
    double = f64
    bool = b
    bfloat16 = bf16
    float8 = f8
    fp8 = f8
    float4 = f4
    fp4 = f4

    @classmethod
    def _usual(cls) -> dtype:
        return cls.f32

    def _known(self) -> tuple[Any, ...]:
        torch_type, name, numpy_name = self.value
        found: tuple[Any, ...] = () if torch_type is None else (torch_type,)
        if numpy_name:
            found += (np.dtype(numpy_name),)
        return found + (_of_tensorrt("DataType", name) if name else ())

    @classmethod
    def try_from(cls, t: Any, use_default: Any = False) -> Any:
        """The member of a type of PyTorch, TensorRT or NumPy (also a class such as `numpy.float32`); else None."""
        if isinstance(t, type) and issubclass(t, np.generic):
            t = np.dtype(t)
        return super().try_from(t, use_default)

    def __eq__(self, other: object) -> Any:
        if isinstance(other, type) and issubclass(other, np.generic):
            other = np.dtype(other)
        return super().__eq__(other)

    __hash__ = _Convertible.__hash__


class memory_format(_Convertible):
    """How a tensor lies in memory; `contiguous` and `channels_last` are other names of `linear` and `hwc`."""

    linear = (torch.contiguous_format, "LINEAR")
    chw2 = (None, "CHW2")
    hwc8 = (None, "HWC8")
    chw4 = (None, "CHW4")
    chw16 = (None, "CHW16")
    chw32 = (None, "CHW32")
    dhwc8 = (torch.channels_last_3d, "DHWC8")
    cdhw32 = (None, "CDHW32")
    hwc = (torch.channels_last, "HWC")
    dla_linear = (None, "DLA_LINEAR")
    dla_hwc4 = (None, "DLA_HWC4")
    hwc16 = (None, "HWC16")
    dhwc = (None, "DHWC")

    contiguous = linear
    channels_last = hwc
    channels_last_3d = dhwc8

    def _known(self) -> tuple[Any, ...]:
        torch_format, name = self.value
        found: tuple[Any, ...] = () if torch_format is None else (torch_format,)
        return found + _of_tensorrt("TensorFormat", name)


class DeviceType(_Convertible):
    """The kind of a device; nothing here runs on a DLA."""

    UNKNOWN = ("",)
    GPU = ("GPU",)
    DLA = ("DLA",)

    @classmethod
    def _usual(cls) -> DeviceType:
        return cls.GPU

    def _known(self) -> tuple[Any, ...]:
        return _of_tensorrt("DeviceType", self.value[0]) if self.value[0] else ()

    @classmethod
    def try_from(cls, t: Any, use_default: bool = False) -> Any:
        """The kind of a torch.device or `Device`, also by its text ("cuda", "dla:0"), or of TensorRT's; else None."""
        known = getattr(t, "device_type", t)
        if isinstance(known, torch.device | str):
            word = str(known).partition(":")[0].lower()
            known = {"cuda": cls.GPU, "gpu": cls.GPU, "dla": cls.DLA}.get(word)
        return super().try_from(known, use_default)


class EngineCapability(_Convertible):
    """What an engine is restricted to; here it is always `STANDARD`."""

    STANDARD = ("STANDARD",)
    SAFETY = ("SAFETY",)
    DLA_STANDALONE = ("DLA_STANDALONE",)

    def _known(self) -> tuple[Any, ...]:
        return _of_tensorrt("EngineCapability", self.value[0])


class Platform(_Convertible):
    """The operating system and processor that an engine is for."""

    LINUX_X86_64 = ("linux", "x86_64")
    LINUX_AARCH64 = ("linux", "aarch64")
    WIN_X86_64 = ("windows", "x86_64")
    UNKNOWN = ("", "")

    @classmethod
    def current_platform(cls) -> Platform:
        """That of this machine."""
        found = (this_machine.system().lower(), this_machine.machine().lower().replace("amd64", "x86_64"))
        return next((member for member in cls if member.value == found), cls.UNKNOWN)

    def _known(self) -> tuple[Any, ...]:
        names: dict[str, Callable[[], tuple[Any, ...]]] = {
            "linux": lambda: _of_tensorrt("RuntimePlatform", "SAME_AS_BUILD"),
            "windows": lambda: _of_tensorrt("RuntimePlatform", "WINDOWS_AMD64"),
        }
        return names[self.value[0]]() if self.value[0] else ()


class SourceIR(Enum):
    """Where an operator comes from, which converters tell the building blocks; nothing depends on it here."""

    NN = auto()
    ACC = auto()
    ATEN = auto()
    PRIM = auto()
    TORCHTRT_LOWERED = auto()
    UNKNOWN = auto()

    def __str__(self) -> str:
        return self.name.lower()
