"""`Input`: the shape, or range of shapes, of one model input."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import UserError, did_you_mean
from .dtypes import UnknownDType, from_short_name, short_name

Shape = tuple[int, ...]

Profile = tuple[Shape, Shape, Shape]
"""Smallest, usual and largest shape of an input in one optimization profile."""

_KEYWORDS = ("shape", "min_shape", "opt_shape", "max_shape", "shapes", "profiles", "dtype", "name", "format")
_CORNERS = ("min", "opt", "max")
_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True, init=False)
class Input:
    """One tensor input: a static shape, or the smallest, usual and largest shape.

    Args:
        shape: the static shape. Leave it out to give the three others.
        min_shape, opt_shape, max_shape: smallest, usual and largest sizes, of one rank; a dimension in which min and
            max differ is dynamic. TensorRT tunes for `opt_shape`.
        shapes: several such ranges, each (min, opt, max), or one shape: the optimization profiles of an engine, which
            tunes its kernels for each of them and has its weights once. A call takes the first profile that has its
            sizes; the first of one input belongs to the first of all others. `min_shape` and `max_shape` are then the
            smallest and largest sizes of all profiles, `opt_shape` is that of the first.
        profiles: another name for `shapes`; a profile may be a dict of "min", "opt" and "max", or of "min_shape",
            "opt_shape" and "max_shape".
        dtype: of the tensor; float32 unless said.
        name: what errors and pictures call it; by default the name of the model's argument.
        format: `torch.contiguous_format` or `torch.channels_last` (rank 4).
    """

    min_shape: Shape
    opt_shape: Shape
    max_shape: Shape
    profiles: tuple[Profile, ...]
    dtype: torch.dtype
    name: str | None
    format: torch.memory_format

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        *surplus: Any,
        min_shape: Sequence[int] | None = None,
        opt_shape: Sequence[int] | None = None,
        max_shape: Sequence[int] | None = None,
        shapes: Sequence[Any] | None = None,
        profiles: Sequence[Any] | None = None,
        dtype: torch.dtype = torch.float32,
        name: str | None = None,
        format: torch.memory_format = torch.contiguous_format,
        **unknown: Any,
    ) -> None:
        if surplus:
            raise UserError("an Input takes one shape by position: give min_shape, opt_shape and max_shape by name.")
        if unknown:
            first = next(iter(unknown))
            raise UserError(f"an Input has no {first!r}.{did_you_mean(first, _KEYWORDS)}")
        if not isinstance(name, str | None):
            raise UserError(f"the name of an Input is {name!r}: give a text.")
        if shapes is not None and profiles is not None:
            raise UserError("shapes and profiles are two names of one argument of an Input: give one of them.")
        several = profiles if shapes is None else shapes
        ranged = (min_shape, opt_shape, max_shape)
        if sum((shape is not None, any(item is not None for item in ranged), several is not None)) > 1:
            raise UserError(
                "an Input has a shape, or min_shape, opt_shape and max_shape, or shapes for several profiles: give one."
            )
        if several is None:
            if shape is None and any(item is None for item in ranged):
                raise UserError("an Input needs a shape, or all three of min_shape, opt_shape and max_shape.")
            taken: tuple[Profile, ...] = (_profile(name, (shape,) * 3 if shape is not None else ranged),)
        else:
            taken = _profiles(name, several)
        lows, usual, highs = zip(*taken, strict=True)
        corners = [tuple(map(min, zip(*lows, strict=True))), usual[0], tuple(map(max, zip(*highs, strict=True)))]
        if not isinstance(dtype, torch.dtype):
            raise UserError(f"the dtype of an Input is {dtype!r}: give a torch.dtype such as torch.float16.")
        if format not in _FORMATS.values():
            raise UserError(f"the format of an Input is {format}: give contiguous_format or channels_last.")
        if format is torch.channels_last and len(usual[0]) != 4:
            raise UserError(f"an Input of shape {usual[0]} cannot be channels_last: that needs rank 4.")
        values = dict(zip(("min_shape", "opt_shape", "max_shape"), corners, strict=True))
        for key, value in {**values, "profiles": taken, "dtype": dtype, "name": name, "format": format}.items():
            object.__setattr__(self, key, value)

    @classmethod
    def from_tensor(cls, tensor: torch.Tensor, name: str | None = None) -> Input:
        """The static input that a tensor is an example of."""
        last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        last = last and not tensor.is_contiguous()
        return cls(
            tuple(tensor.shape),
            dtype=tensor.dtype,
            name=name,
            format=torch.channels_last if last else torch.contiguous_format,
        )

    @classmethod
    def parse(cls, text: str) -> Input:
        """An input from text, such as `2x3x224x224`, `1..8..32x3x224x224:f16` or `ids=1..8x16..64..128:i64`.

        Form: `[name=]SIZE x SIZE x …[:dtype[:channels_last]]`, where SIZE is a number, `min..max` or `min..opt..max`;
        `scalar` stands for the shape of a 0-d tensor. Several profiles have `/` between them: `1x1/1x2..64..512:i64`.
        """
        name, _, rest = text.rpartition("=")
        shape_text, *tail = rest.split(":")
        if len(tail) > 2 or (name and not name.isidentifier()):
            raise UserError(f"input {text!r} is not of the form [name=]SIZExSIZE[:dtype[:format]].")
        dtype = torch.float32
        if tail:
            try:
                dtype = from_short_name(tail[0])
            except UnknownDType:
                close = did_you_mean(tail[0], ["f32", "f16", "bf16", "f64", "i64", "i32", "i8", "u8", "bool"])
                raise UserError(f"input {text!r} has an unknown dtype {tail[0]!r}.{close}") from None
        if len(tail) == 2 and tail[1] not in _FORMATS:
            raise UserError(f"input {text!r} has an unknown format {tail[1]!r}.{did_you_mean(tail[1], _FORMATS)}")
        return cls(
            shapes=[_corners(text, part) for part in shape_text.split("/")],
            dtype=dtype,
            name=name or None,
            format=_FORMATS[tail[1]] if len(tail) == 2 else torch.contiguous_format,
        )

    @property
    def shape(self) -> Shape:
        """The usual shape (the only one when static)."""
        return self.opt_shape

    @property
    def dynamic_dims(self) -> tuple[int, ...]:
        """Dimensions in which the smallest and the largest shape differ."""
        pairs = enumerate(zip(self.min_shape, self.max_shape, strict=True))
        return tuple(index for index, (low, high) in pairs if low != high)

    def profile(self, number: int) -> Input:
        """The input as one of its profiles has it; where there is one only, as that has it."""
        low, usual, high = self.profiles[number if len(self.profiles) > 1 else 0]
        corners = {"min_shape": low, "opt_shape": usual, "max_shape": high}
        return Input(**corners, dtype=self.dtype, name=self.name, format=self.format)

    @property
    def is_dynamic(self) -> bool:
        """Whether any dimension is dynamic."""
        return bool(self.dynamic_dims)

    def example(self, device: torch.device | str = "cpu", shape: Sequence[int] | None = None) -> torch.Tensor:
        """A tensor of the usual shape (or of `shape`): standard normal for floats, zeros and ones for the rest."""
        sizes = tuple(self.opt_shape if shape is None else shape)
        generator = torch.Generator().manual_seed(0)
        try:
            if self.dtype.is_floating_point:
                tensor = torch.randn(sizes, generator=generator, device="cpu").to(self.dtype)
            else:
                tensor = torch.randint(0, 2, sizes, generator=generator, device="cpu").to(self.dtype)
        except (MemoryError, RuntimeError) as error:
            raise UserError(
                f"there is no memory for an example of the input {self}: give smaller sizes, or a smaller opt_shape."
            ) from error
        return tensor.to(device).contiguous(memory_format=self.format)

    def __str__(self) -> str:
        name = f"{self.name}=" if self.name else ""
        last = ":channels_last" if self.format is torch.channels_last else ""
        return f"{name}{'/'.join(map(profile_text, self.profiles))}:{short_name(self.dtype)}{last}"


def profile_text(profile: Profile) -> str:
    """Sizes of a profile as `Input.parse` reads them: `1x2..64..512`."""
    ranges = zip(*profile, strict=True)
    return "x".join(str(low) if low == high else f"{low}..{opt}..{high}" for low, opt, high in ranges) or "scalar"


def profile_count(inputs: Iterable[Input]) -> int:
    """How many optimization profiles the inputs of a program have.

    Raises:
        UserError: two of them have several, and not equally many.
    """
    counts = {len(item.profiles): item for item in inputs if len(item.profiles) > 1}
    if len(counts) > 1:
        first, second = list(counts.values())[:2]
        raise UserError(
            f"input {first.name!r} has {len(first.profiles)} profiles and input {second.name!r} has "
            f"{len(second.profiles)}: give every input as many, or one range for all of them."
        )
    return next(iter(counts), 1)


def _profiles(name: str | None, several: Any) -> tuple[Profile, ...]:
    """Profiles as (min, opt, max), of what may be triples, dicts or single shapes."""
    called = f"input {name!r}" if name else "an Input"
    if isinstance(several, str | Mapping) or not isinstance(several, Sequence) or not several:
        raise UserError(f"the shapes of {called} are {several!r}: give a list with (min, opt, max) for every profile.")
    found = []
    for item in several:
        corners = item
        if isinstance(item, Mapping):
            named = {str(key).removesuffix("_shape"): shape for key, shape in item.items()}
            if set(named) != set(_CORNERS) or len(item) != len(named):
                raise UserError(f"a profile of {called} is {item!r}: give 'min', 'opt' and 'max', or the three shapes.")
            corners = [named[key] for key in _CORNERS]
        elif not isinstance(item, Sequence) or isinstance(item, str):
            raise UserError(f"a profile of {called} is {item!r}: give the three shapes (min, opt, max), or one shape.")
        elif not any(isinstance(part, Sequence) for part in item):
            corners = [item] * 3
        if len(corners) != 3:
            raise UserError(f"a profile of {called} has {len(corners)} shapes: give three, (min, opt, max).")
        found.append(_profile(name, corners))
    if len({len(low) for low, _, _ in found}) > 1:
        raise UserError(f"the profiles of {called} have shapes of different ranks: {found}.")
    return tuple(found)


def _profile(name: str | None, corners: Sequence[Any]) -> Profile:
    low, usual, high = map(_shape, corners)
    _check_range(name, low, usual, high)
    return low, usual, high


def _corners(text: str, part: str) -> Profile:
    sizes = [] if part.strip() == "scalar" else [_size(text, item) for item in part.split("x")]
    low, usual, high = (tuple(size[index] for size in sizes) for index in range(3))
    return low, usual, high


def _shape(value: Sequence[int]) -> Shape:
    try:
        shape = tuple(-1 if isinstance(size, bool) else operator.index(size) for size in value)
    except TypeError:
        shape = (-1,)
    if any(size < 0 for size in shape):
        raise UserError(
            f"the shape {value!r} of an Input is not a sequence of sizes: give whole numbers of at least 0."
        )
    return shape


def _check_range(name: str | None, low: Shape, opt: Shape, high: Shape) -> None:
    called = f"input {name!r}" if name else "an Input"
    if not len(low) == len(opt) == len(high):
        raise UserError(f"{called} has shapes of different ranks: min {low}, opt {opt}, max {high}.")
    for index, (small, usual, large) in enumerate(zip(low, opt, high, strict=True)):
        if large >= 2**63:
            raise UserError(f"{called} has the size {large} in dimension {index}, which no tensor can have.")
        if not small <= usual <= large:
            raise UserError(
                f"{called} has min {small}, opt {usual}, max {large} in dimension {index}: "
                "sizes must grow from min to opt to max."
            )


def _size(text: str, part: str) -> tuple[int, int, int]:
    numbers = part.strip().split("..")
    if not 1 <= len(numbers) <= 3 or not all(re.fullmatch(r"\d+", number) for number in numbers):
        raise UserError(
            f"input {text!r} has the size {part!r}: give a number, min..max or min..opt..max, such as 1..8..32x3."
        )
    values = [int(number) for number in numbers]
    if len(values) == 2:
        return values[0], values[1], values[1]
    return values[0], values[len(values) // 2], values[-1]
