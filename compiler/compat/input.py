"""`Input` as Torch-TensorRT has it: its shape is a dict where it is dynamic, and its types are `dtype`s."""

from __future__ import annotations

import enum
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import UserError
from ..ir.input import Input as Declared
from .enums import dtype as DType
from .enums import memory_format as MemoryFormat
from .mistakes import InvalidType, InvalidValue

_CORNERS = ("min_shape", "opt_shape", "max_shape")


class Input:
    """One tensor input of a model: a static shape, or the smallest, usual and largest shape.

    Args:
        shape: the static shape, by position or by name.
        min_shape, opt_shape, max_shape: likewise, for sizes that vary.
        profiles: several ranges, each a dict of "min", "opt" and "max" (or "min_shape" and so on): the optimization
            profiles of an engine.
        dtype: of the tensor, as PyTorch, TensorRT, NumPy or `torch_tensorrt.dtype` has it; float32 unless said.
        format: contiguous or channels_last.
        tensor_domain: the smallest value of examples, and the one that all of them are below; [0, 2) unless said.
        torch_tensor: the example, in place of random numbers.
        name: what messages call it.
        is_shape_tensor: the values of a tensor of one dimension are given, instead of its shape.
        shared_dims: which sizes are equal to those of other inputs; they are found without it.

    Attributes:
        shape: a tuple, or a dict of the three shapes.
        dtype, format: members of `torch_tensorrt.dtype` and `memory_format`.
        shape_mode: `STATIC` or `DYNAMIC`.
    """

    class _ShapeMode(enum.Enum):
        STATIC = 0
        DYNAMIC = 1

    DOMAIN_OFFSET = 2.0

    def __init__(self, *args: Any, **options: Any) -> None:
        if len(args) > 1:
            raise InvalidValue(
                f"an Input takes one shape by position, not {len(args)}: give min_shape, opt_shape and max_shape by "
                "name."
            )
        unknown = [key for key in options if key not in _KEYWORDS]
        if unknown:
            raise InvalidValue(f"an Input has no {unknown[0]!r}: give some of {', '.join(_KEYWORDS)}.")
        self.shape: Any = self._shape_of(args, options)
        self.shape_mode = self._ShapeMode.DYNAMIC if isinstance(self.shape, dict) else self._ShapeMode.STATIC
        self.is_shape_tensor = bool(options.get("is_shape_tensor", False))
        given = options.get("dtype")
        self._explicit_set_dtype = given is not None
        self.dtype: DType = DType._from(torch.int64 if self.is_shape_tensor else torch.float32)
        if given is not None:
            self.dtype = DType._from(given)
        self.format: MemoryFormat = MemoryFormat._from(options.get("format") or torch.contiguous_format)
        self.tensor_domain = _domain(options.get("tensor_domain"), self.DOMAIN_OFFSET)
        self.low_tensor_domain_incl, self.high_tensor_domain_excl = self.tensor_domain
        self.name: str = options.get("name") or ""
        self.shared_dims = options.get("shared_dims")
        self._given: torch.Tensor | None = options.get("torch_tensor")
        if self._given is not None and not isinstance(self._given, torch.Tensor):
            raise InvalidType(f"torch_tensor is a {type(self._given).__name__}: give an example tensor.")

    def _shape_of(self, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        self.profiles = _profiles(options.get("profiles"))
        ranged = {key: options[key] for key in _CORNERS if options.get(key) is not None}
        static = args[0] if args else options.get("shape")
        if sum((static is not None, bool(ranged), bool(self.profiles))) > 1:
            raise InvalidValue("an Input has a shape, or min_shape, opt_shape and max_shape, or profiles: give one.")
        if self.profiles:
            lows, highs = ([row[key] for row in self.profiles] for key in ("min", "max"))
            ranged = {
                "min_shape": tuple(map(min, *lows, lows[0])),
                "opt_shape": self.profiles[0]["opt"],
                "max_shape": tuple(map(max, *highs, highs[0])),
            }
        if ranged:
            if len(ranged) < 3:
                raise InvalidValue(
                    f"an Input of varying sizes needs {', '.join(_CORNERS)}, and has {', '.join(ranged)}."
                )
            return {key: _sizes(ranged[key]) for key in _CORNERS}
        tensor = options.get("torch_tensor")
        if static is None and isinstance(tensor, torch.Tensor):
            static = tensor.shape
        if static is None:
            raise InvalidValue("an Input needs a shape, or all of min_shape, opt_shape and max_shape.")
        return _sizes(static)

    @property
    def torch_tensor(self) -> torch.Tensor:
        """The example that was given, or one that is made when it is first asked for: of the usual shape."""
        if self._given is None:
            self._given = self._example(self.shape["opt_shape"] if isinstance(self.shape, dict) else self.shape)
        return self._given

    @staticmethod
    def _supported_input_size_type(input_size: Any) -> bool:
        """Whether a shape may be given so."""
        return isinstance(input_size, torch.Size | tuple | list)

    @property
    def is_dynamic(self) -> bool:
        """Whether sizes vary."""
        return isinstance(self.shape, dict)

    def declared(self) -> Declared:
        """The same input as `trt_passes.Input` has it.

        Raises:
            UserError: a data type or format that no input of a model can have, or sizes that shrink.
        """
        shapes = self.shape if isinstance(self.shape, dict) else dict.fromkeys(_CORNERS, self.shape)
        if self.is_shape_tensor:
            shapes = {key: (len(shape),) for key, shape in shapes.items()}
        given: Any = {"shapes": self.profiles} if self.profiles and not self.is_shape_tensor else shapes
        chosen: Any = {"dtype": self.dtype.try_to(torch.dtype), "format": self.format.try_to(torch.memory_format)}
        for key, value in chosen.items():
            if value is None:
                raise UserError(f"the {key} of an Input is {getattr(self, key)!s}, which no tensor of PyTorch has.")
        return Declared(**given, **chosen, name=self.name if self.name.isidentifier() else None)

    def example_tensor(self, optimization_profile_field: str | None = None) -> torch.Tensor:
        """A tensor with random numbers of the domain, on the CPU.

        Args:
            optimization_profile_field: "min_shape", "opt_shape" or "max_shape", which an input of varying sizes needs.
        """
        field = optimization_profile_field
        if not isinstance(self.shape, dict):
            if field is not None:
                raise InvalidValue(f"this Input has one shape, so that it has no {field!r}: leave it out.")
            return self._example(self.shape) if self._given is None else self._given
        if field not in _CORNERS:
            raise InvalidValue(f"the shape of an example is {field!r}: give one of {', '.join(_CORNERS)}.")
        return self._example(self.shape[field])

    def _example(self, shape: Sequence[int]) -> torch.Tensor:
        kind: torch.dtype = self.dtype.to(torch.dtype, use_default=True)
        if self.is_shape_tensor:
            return torch.tensor(list(shape), dtype=kind)
        low, high = self.tensor_domain
        tensor = torch.rand(tuple(shape)) * (high - low) + low
        if kind is torch.bool:
            return tensor >= (low + high) / 2
        tensor = tensor.to(kind)
        chosen = self.format.try_to(torch.memory_format)
        if chosen is torch.channels_last and tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=chosen)
        return tensor

    @classmethod
    def from_tensor(cls, t: torch.Tensor, disable_memory_format_check: bool = False) -> Input:
        """The static input that a tensor is an example of.

        Args:
            t: the tensor, contiguous or channels_last.
            disable_memory_format_check: take a tensor of any strides for a contiguous one.
        """
        last = t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last)
        if not (t.is_contiguous() or last or disable_memory_format_check):
            raise InvalidValue("the tensor is neither contiguous nor channels_last: give x.contiguous().")
        chosen = torch.channels_last if last and not t.is_contiguous() else torch.contiguous_format
        return cls(tuple(t.shape), dtype=t.dtype, format=chosen, torch_tensor=t)

    @classmethod
    def from_tensors(cls, ts: Sequence[torch.Tensor], disable_memory_format_check: bool = False) -> list[Input]:
        """The static inputs that some tensors are examples of."""
        if not isinstance(ts, list | tuple) or not all(isinstance(t, torch.Tensor) for t in ts):
            raise InvalidValue("from_tensors takes a list or tuple of tensors.")
        return [cls.from_tensor(t, disable_memory_format_check) for t in ts]

    @staticmethod
    def equivalent_spec(a: Input, b: Input) -> bool:
        """Whether an engine for one input takes the other too."""
        return (a.shape, a.profiles, a.dtype, a.format) == (b.shape, b.profiles, b.dtype, b.format)

    def __str__(self) -> str:
        shape = ", ".join(f"{key}={value}" for key, value in self.shape.items()) if self.is_dynamic else self.shape
        low, high = self.tensor_domain
        return f"Input(shape={shape}, dtype={self.dtype!s}, format={self.format!s}, domain=[{low}, {high}))"

    __repr__ = __str__


_KEYWORDS = (
    "shape",
    *_CORNERS,
    "profiles",
    "dtype",
    "format",
    "tensor_domain",
    "torch_tensor",
    "name",
    "is_shape_tensor",
    "shared_dims",
)


def _sizes(shape: Any) -> tuple[int, ...]:
    try:
        sizes = tuple(map(operator.index, (shape,) if isinstance(shape, int) else shape))
    except TypeError:
        raise InvalidType(f"the shape of an Input is {shape!r}: give a list or tuple of whole numbers.") from None
    if any(size < 0 for size in sizes):
        raise InvalidValue(f"the shape of an Input is {shape!r}: sizes cannot be negative.")
    return sizes


def _profiles(rows: Any) -> tuple[dict[str, tuple[int, ...]], ...]:
    if rows is None:
        return ()
    words = ("min_shape", "opt_shape", "max_shape")
    kinds = (set(words), {word.removesuffix("_shape") for word in words})
    if (
        not isinstance(rows, list | tuple)
        or not rows
        or not all(isinstance(row, Mapping) and set(row) in kinds for row in rows)
    ):
        raise InvalidValue(f"profiles is {rows!r}: give a list of dicts with {', '.join(map(repr, words))}.")
    return tuple({key.removesuffix("_shape"): _sizes(shape) for key, shape in row.items()} for row in rows)


def _domain(given: Any, offset: float) -> tuple[float, float]:
    if given is None:
        return 0.0, offset
    if not isinstance(given, list | tuple) or len(given) != 2 or not given[0] < given[1]:
        raise InvalidValue(f"tensor_domain is {given!r}: give the smallest value, and one that all are below.")
    return float(given[0]), float(given[1])
