"""Symbolic sizes inside a network: sympy expressions computed by shape layers from the dimensions of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import sympy
import torch

from ..ir.symbols import Dim, Range, SizeSource, UnderivableSize, at_least, simplified
from .tensor import Tensor


class Layers(Protocol):
    """What adds layers to the network, which is the `ConverterContext`."""

    network: Any

    @property
    def trt(self) -> Any:
        """The TensorRT module."""

    def data_type(self, dtype: torch.dtype) -> Any:
        """The `trt.DataType` of a torch dtype."""

    def segment_input(self, name: str) -> Tensor:
        """The tensor of an input of the network."""

    def constant(self, value: torch.Tensor, role: str) -> Tensor:
        """A tensor of values as a constant layer."""

    def emit(self, layer: Any, shape: Sequence[Dim], role: str) -> Tensor:
        """Name, trace and check a layer that was just added, and return its result."""


_FOLDED = MappingProxyType({"Add": "SUM", "Mul": "PROD", "Max": "MAX", "Min": "MIN", "And": "AND", "Or": "OR"})
_DIVIDED = ("FloorDiv", "CleanDiv")
_RELATIONS: Mapping[str, tuple[str, bool]] = MappingProxyType(
    {
        # sympy class -> TensorRT comparison, and whether its opposite is meant
        "Equality": ("EQUAL", False),
        "Unequality": ("EQUAL", True),
        "StrictGreaterThan": ("GREATER", False),
        "StrictLessThan": ("LESS", False),
        "GreaterThan": ("LESS", True),
        "LessThan": ("GREATER", True),
    }
)


class Sizes:
    """Computes sizes with layers of shape [1], each expression once.

    `ranges` are those of the program's symbols: all that may be taken for known about them.
    """

    def __init__(self, ctx: Layers, ranges: Mapping[sympy.Symbol, Range]) -> None:
        self._ctx, self.ranges = ctx, ranges
        self._known: dict[Any, Tensor] = {}
        self._shapes: dict[str, Tensor] = {}
        self.sources: Mapping[sympy.Symbol, SizeSource] = {}

    def tensor(self, dim: Dim) -> Tensor:
        """A size as an int64 tensor of shape [1] (a relation as bool, a fraction as float32).

        Raises:
            UnderivableSize: a symbol cannot be computed from the network's inputs.
        """
        if isinstance(dim, bool | int | float):
            dim = sympy.sympify(dim)
        found = self._known.get(dim)
        if found is None:
            found = self._known[dim] = self._computed(dim)
        return found

    def define(self, size: Dim, tensor: Tensor, dim: int) -> None:
        """Make known that a size which depends on values is a dimension of a tensor of this network."""
        if not isinstance(size, int):
            self._known[size] = self._dimension(self._shape_of(tensor), dim)

    def vector(self, dims: Sequence[Dim]) -> Tensor:
        """Sizes as one int64 tensor of shape [len(dims)]; runs of numbers are one constant."""
        if all(isinstance(dim, int) for dim in dims):
            return self._ctx.constant(torch.tensor(dims, dtype=torch.int64), role="size")
        parts: list[Tensor] = []
        run: list[Dim] = []
        for dim in [*dims, None]:
            if isinstance(dim, int):
                run.append(dim)
                continue
            if run:
                parts.append(self._ctx.constant(torch.tensor(run, dtype=torch.int64), role="size"))
                run = []
            if dim is not None:
                parts.append(self.tensor(dim))
        if len(parts) == 1:
            return parts[0]
        layer = self._ctx.network.add_concatenation([part.trt for part in parts])
        return self._ctx.emit(layer, (len(dims),), role="size")

    # --- expressions ----------------------------------------------------------------------------------------------- -
    def _computed(self, expr: Any) -> Tensor:
        kind = type(expr).__name__
        if isinstance(expr, sympy.Integer):
            return self._constant(int(expr), torch.int64)
        if isinstance(expr, sympy.Float | sympy.Rational):
            return self._constant(float(expr), torch.float32)
        if expr in (sympy.true, sympy.false):
            return self._constant(bool(expr), torch.bool)
        if isinstance(expr, sympy.Symbol):
            return self._symbol(expr)
        if kind in _FOLDED:
            return self._folded(_FOLDED[kind], [self.tensor(argument) for argument in expr.args])
        if kind in _RELATIONS:
            operation, opposite = _RELATIONS[kind]
            result = self._binary(operation, *map(self.tensor, expr.args))
            return self._not(result) if opposite else result
        method = _METHODS.get(kind)
        if method is None:
            raise NotImplementedError(f"the size {expr} contains {kind}, which has no counterpart in TensorRT")
        return method(self, *expr.args)

    def _symbol(self, symbol: sympy.Symbol) -> Tensor:
        source = self.sources.get(symbol)
        if source is None:
            raise UnderivableSize(symbol)
        if source.size not in self._known:
            self._known[source.size] = self._input_dim(source.tensor, source.dim)
        return self.tensor(source.formula)

    def _input_dim(self, name: str, dim: int) -> Tensor:
        if name not in self._shapes:
            self._shapes[name] = self._shape_of(self._ctx.segment_input(name))
        return self._dimension(self._shapes[name], dim)

    def _shape_of(self, tensor: Tensor) -> Tensor:
        return self._ctx.emit(self._ctx.network.add_shape(tensor.trt), (tensor.rank,), role="shape")

    def _dimension(self, shape: Tensor, dim: int) -> Tensor:
        if shape.shape == (1,):
            return shape
        return self._ctx.emit(self._ctx.network.add_slice(shape.trt, (dim,), (1,), (1,)), (1,), role="size")

    def _constant(self, value: float, dtype: torch.dtype) -> Tensor:
        return self._ctx.constant(torch.tensor([value], dtype=dtype), role="size")

    def _folded(self, operation: str, parts: Sequence[Tensor]) -> Tensor:
        result = parts[0]
        for part in parts[1:]:
            result = self._binary(operation, result, part)
        return result

    def _binary(self, operation: str, left: Tensor, right: Tensor) -> Tensor:
        if torch.float32 in (left.dtype, right.dtype):
            left, right = self._cast(left, torch.float32), self._cast(right, torch.float32)
        kind = getattr(self._ctx.trt.ElementWiseOperation, operation)
        return self._ctx.emit(self._ctx.network.add_elementwise(left.trt, right.trt, kind), (1,), role="size")

    def _unary(self, operation: str, value: Tensor) -> Tensor:
        kind = getattr(self._ctx.trt.UnaryOperation, operation)
        return self._ctx.emit(self._ctx.network.add_unary(value.trt, kind), (1,), role="size")

    def _not(self, value: Tensor) -> Tensor:
        return self._unary("NOT", value)

    def _cast(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        if value.dtype == dtype:
            return value
        layer = self._ctx.network.add_cast(value.trt, self._ctx.data_type(dtype))
        return self._ctx.emit(layer, (1,), role="size")

    def _floor_div(self, numerator: Any, denominator: Any) -> Tensor:
        return self._binary("FLOOR_DIV", self.tensor(numerator), self.tensor(denominator))

    def _ceil_div(self, numerator: Any, denominator: Any) -> Tensor:
        # ceil(a / b) = -floor(-a / b)
        return self._negative(
            self._binary("FLOOR_DIV", self._negative(self.tensor(numerator)), self.tensor(denominator))
        )

    def _negative(self, value: Tensor) -> Tensor:
        return self._binary("PROD", value, self._constant(-1, torch.int64))

    def _mod(self, numerator: Any, denominator: Any, modulus: Any = None) -> Tensor:
        if modulus is not None:
            # ModularIndexing(base, divisor, modulus)
            quotient = self._binary("FLOOR_DIV", self.tensor(numerator), self.tensor(denominator))
            return self._remainder(quotient, self.tensor(modulus))
        return self._remainder(self.tensor(numerator), self.tensor(denominator))

    def _python_mod(self, numerator: Any, denominator: Any) -> Tensor:
        """The remainder that a roll takes by the size of a dimension, which may be empty: any will do then."""
        divisor = self.tensor(denominator)
        if not at_least(simplified(denominator), 1, self.ranges):
            divisor = self._binary("MAX", divisor, self._constant(1, torch.int64))
        return self._remainder(self.tensor(numerator), divisor)

    def _remainder(self, value: Tensor, divisor: Tensor) -> Tensor:
        whole = self._binary("PROD", self._binary("FLOOR_DIV", value, divisor), divisor)
        return self._binary("SUB", value, whole)

    def _power(self, base: Any, exponent: Any) -> Tensor:
        if isinstance(exponent, sympy.Integer) and 1 <= int(exponent) <= 8:
            return self._folded("PROD", [self.tensor(base)] * int(exponent))
        if not at_least(simplified(exponent), 0, self.ranges):
            raise NotImplementedError(f"the size {base}**{exponent} has no counterpart in TensorRT")
        return self._binary("POW", self.tensor(base), self.tensor(exponent))

    def _float_power(self, base: Any, exponent: Any) -> Tensor:
        return self._binary("POW", self._to_float(base), self._to_float(exponent))

    def _piecewise(self, *pieces: Any) -> Tensor:
        # Pairs of a value and the condition under which it holds, the last one in all other cases.
        result = self.tensor(pieces[-1].args[0])
        for value, condition in (piece.args for piece in reversed(pieces[:-1])):
            result = self._select(self.tensor(condition), self.tensor(value), result)
        return result

    def _where(self, condition: Any, then: Any, otherwise: Any) -> Tensor:
        return self._select(*map(self.tensor, (condition, then, otherwise)))

    def _select(self, condition: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
        if torch.float32 in (then.dtype, otherwise.dtype):
            then, otherwise = self._cast(then, torch.float32), self._cast(otherwise, torch.float32)
        layer = self._ctx.network.add_select(condition.trt, then.trt, otherwise.trt)
        return self._ctx.emit(layer, (1,), role="size")

    def _absolute(self, value: Any) -> Tensor:
        return self._unary("ABS", self.tensor(value))

    def _root(self, value: Any) -> Tensor:
        return self._unary("SQRT", self._to_float(value))

    def _masked(self, value: Any, mask: Any) -> Tensor:
        value, mask = (mask, value) if isinstance(value, sympy.Integer) else (value, mask)
        if not isinstance(mask, sympy.Integer) or int(mask) < 0 or int(mask) & (int(mask) + 1):
            raise NotImplementedError(f"the size {value} & {mask} has no counterpart in TensorRT")
        return self._remainder(self.tensor(value), self._constant(int(mask) + 1, torch.int64))

    def _left_shift(self, value: Any, places: Any) -> Tensor:
        return self._binary("PROD", self.tensor(value), self._power(sympy.Integer(2), places))

    def _right_shift(self, value: Any, places: Any) -> Tensor:
        return self._binary("FLOOR_DIV", self.tensor(value), self._power(sympy.Integer(2), places))

    def _true_div(self, numerator: Any, denominator: Any) -> Tensor:
        left, right = (self._cast(self.tensor(item), torch.float32) for item in (numerator, denominator))
        return self._binary("DIV", left, right)

    def _to_float(self, value: Any) -> Tensor:
        return self._cast(self.tensor(value), torch.float32)

    def _to_int(self, value: Any) -> Tensor:
        return self._cast(self.tensor(value), torch.int64)

    def _floor(self, value: Any) -> Tensor:
        return self._cast(self._unary("FLOOR", self._to_float(value)), torch.int64)

    def _ceil(self, value: Any) -> Tensor:
        return self._cast(self._unary("CEIL", self._to_float(value)), torch.int64)

    def _round(self, value: Any) -> Tensor:
        return self._cast(self._unary("ROUND", self._to_float(value)), torch.int64)

    def _negated(self, value: Any) -> Tensor:
        return self._not(self.tensor(value))


_METHODS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        **dict.fromkeys(_DIVIDED, Sizes._floor_div),
        "CeilDiv": Sizes._ceil_div,
        "Mod": Sizes._mod,
        "PythonMod": Sizes._python_mod,
        "ModularIndexing": Sizes._mod,
        "Pow": Sizes._power,
        "PowByNatural": Sizes._power,
        "FloatPow": Sizes._float_power,
        "Where": Sizes._where,
        "Piecewise": Sizes._piecewise,
        "Abs": Sizes._absolute,
        "OpaqueUnaryFn_sqrt": Sizes._root,
        "BitwiseFn_bitwise_and": Sizes._masked,
        "LShift": Sizes._left_shift,
        "RShift": Sizes._right_shift,
        "Not": Sizes._negated,
        "IntTrueDiv": Sizes._true_div,
        "FloatTrueDiv": Sizes._true_div,
        "ToFloat": Sizes._to_float,
        "TruncToInt": Sizes._to_int,
        "FloorToInt": Sizes._floor,
        "floor": Sizes._floor,
        "CeilToInt": Sizes._ceil,
        "ceiling": Sizes._ceil,
        "RoundToInt": Sizes._round,
    }
)
