"""From the shapes of an engine's inputs to those of its outputs: symbolic sizes as one compiled Python function.

The texts come from files, so they are parsed, checked against a short list of what sizes are made of, and only then
compiled.
"""

from __future__ import annotations

import ast
import functools
import keyword
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import sympy
import torch
from torch.utils._sympy import functions as sympy_functions

from ..errors import UserError
from .engine_spec import Binding, Dim, EngineSpec
from .input import Profile, profile_text
from .symbols import symbol_sources

Shape = tuple[Any, ...]
"""Sizes of a tensor: ints, or SymInts while tracing."""


def _exact(value: Any) -> Any:
    return round(value) if isinstance(value, int | float) else math.trunc(value)


def _piecewise(*pairs: tuple[Any, Any]) -> Any:
    """The value of the first pair whose condition, its second part, holds."""
    result = pairs[-1][0]
    for value, condition in reversed(pairs[:-1]):
        result = torch.sym_ite(condition, value, result)  # type: ignore[no-untyped-call]
    return result


_SHARED: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "FloorDiv": lambda a, b: a // b,
        "CleanDiv": lambda a, b: a // b,
        "CeilDiv": lambda a, b: -(-a // b),
        "Mod": lambda a, b: a % b,
        "PythonMod": lambda a, b: a % b,
        "ModularIndexing": lambda base, divisor, modulus: (base // divisor) % modulus,
        **dict.fromkeys(("PowByNatural", "FloatPow"), operator.pow),
        "IntTrueDiv": lambda a, b: a / b,
        "FloatTrueDiv": lambda a, b: a / b,
        "ToFloat": torch.sym_float,
        "TruncToInt": math.trunc,
        "FloorToInt": math.floor,
        "CeilToInt": math.ceil,
        "floor": math.floor,
        "ceiling": math.ceil,
        "RoundToInt": round,
        "OpaqueUnaryFn_sqrt": torch._sym_sqrt,  # type: ignore[attr-defined]
        "LShift": operator.lshift,
        "RShift": operator.rshift,
        "BitwiseFn_bitwise_and": operator.and_,
        "BitwiseFn_bitwise_or": operator.or_,
        "Eq": operator.eq,
        "Ne": operator.ne,
        "Where": torch.sym_ite,
        "Piecewise": _piecewise,
        "Abs": abs,
        "_exact": _exact,
    }
)
_ON_INTS: Mapping[str, Callable[..., Any]] = MappingProxyType({**_SHARED, "Max": max, "Min": min})
_ON_SYMBOLS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        **_SHARED,
        "Max": lambda *sizes: functools.reduce(torch.sym_max, sizes),
        "Min": lambda *sizes: functools.reduce(torch.sym_min, sizes),
    }
)
_FUNCTIONS = frozenset(_ON_INTS) - {"_exact"}
_POWERS = frozenset({"PowByNatural", "FloatPow", "LShift"})
_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_RESERVED = frozenset({*_ON_INTS, "inputs", "shapes"})
_LONGEST = 20_000
"""Characters of a size."""
_LARGEST_EXPONENT = 64
_NAMED = 4
"""Inputs in a message about profiles, at most."""

_OPERATORS = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd, ast.BitAnd, ast.BitOr),
    *(ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)
_PARTS = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Constant, ast.Name, ast.Load, ast.Call, ast.Tuple),
    *_OPERATORS,
)


class ShapeRule:
    """Computes the output shapes of an engine from the shapes of its inputs, and checks that those fit together.

    Args:
        spec: the engine's specification; its texts may be untrusted.
        taker: what takes the inputs, for messages.

    Raises:
        UserError: a text is not a size, or a symbol of an output cannot be computed from the inputs.
    """

    def __init__(self, spec: EngineSpec, taker: str = "the engine") -> None:
        self.spec, self._taker = spec, taker
        try:
            code = compile(_source(spec), f"<shapes of {spec.name}>", "exec")
        except (ArithmeticError, AttributeError, RecursionError, SyntaxError, TypeError, ValueError) as error:
            raise UserError(f"the sizes of the engine {spec.name!r} are damaged ({error}): save it again.") from error
        self._on_ints = _function(code, _ON_INTS)
        self._on_symbols = _function(code, _ON_SYMBOLS)

    def output_shapes(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The shape of every output, for input shapes of ints or SymInts."""
        symbolic = any(not isinstance(size, int) for shape in shapes for size in shape)
        try:
            outputs: tuple[Shape, ...] = (self._on_symbols if symbolic else self._on_ints)(shapes)[1]
        except (ZeroDivisionError, OverflowError) as error:
            raise UserError(f"{self._taker} has no output shapes for inputs of {list(shapes)}: {error}.") from error
        return outputs

    def check(self, shapes: Sequence[Shape]) -> None:
        """Raise UserError, naming the input, its range and the size, unless the engine takes inputs of these shapes."""
        for binding, shape in zip(self.spec.inputs, shapes, strict=True):
            self._check_range(binding, shape)
        self.profile_of(shapes)
        for binding, shape, expected in zip(self.spec.inputs, shapes, self._on_ints(shapes)[0], strict=True):
            if tuple(shape) != expected:
                dim = next(i for i, (a, b) in enumerate(zip(shape, expected, strict=True)) if a != b)
                raise UserError(
                    f"input {binding.name!r} has size {shape[dim]} in dimension {dim}, but the other inputs make it "
                    f"{expected[dim]} (= {binding.shape[dim]}): give inputs whose sizes belong together."
                )

    def profile_of(self, shapes: Sequence[Shape]) -> int:
        """The number of the first optimization profile that has inputs of these shapes.

        Raises:
            UserError: none has, though each size alone is one that the engine takes.
        """
        ranged = [(i, binding.profiles) for i, binding in enumerate(self.spec.inputs) if binding.profiles]
        for number in range(self.spec.profiles):
            if all(_holds(profiles[number], shapes[index]) for index, profiles in ranged):
                return number
        del ranged[_NAMED:]
        given = ", ".join(f"{self.spec.inputs[i].name}={_sizes_text(shapes[i])}" for i, _ in ranged)
        texts = (
            ", ".join(f"{self.spec.inputs[i].name}={profile_text(profiles[number])}" for i, profiles in ranged)
            for number in range(self.spec.profiles)
        )
        raise UserError(
            f"no profile of {self._taker} has inputs of {given}: give what one of them has ({'; '.join(texts)}), or "
            "compile with a profile for these sizes."
        )

    def _check_range(self, binding: Binding, shape: Shape) -> None:
        if len(shape) != len(binding.shape):
            raise UserError(
                f"input {binding.name!r} has shape {tuple(shape)}, but {self._taker} takes {_shape_text(binding)}: "
                f"give a tensor of rank {len(binding.shape)}."
            )
        limits = zip(shape, binding.min_shape, binding.max_shape, strict=True)
        for dim, (size, low, high) in enumerate(limits):
            if not low <= size <= high:
                allowed = f"{low}" if low == high else f"{low} to {high}"
                raise UserError(
                    f"input {binding.name!r} has size {size} in dimension {dim} (shape {tuple(shape)}), but "
                    f"{self._taker} takes {allowed}: give such a tensor, or compile for a range that has {size}."
                )


def _holds(profile: Profile, shape: Shape) -> bool:
    low, _, high = profile
    return all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))


def _sizes_text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _shape_text(binding: Binding) -> str:
    return f"[{', '.join(str(size) for size in binding.shape)}]"


def _function(code: Any, names: Mapping[str, Callable[..., Any]]) -> Callable[[Sequence[Shape]], Any]:
    scope: dict[str, Any] = {"__builtins__": {}, **names}
    exec(code, scope)
    function: Callable[[Sequence[Shape]], Any] = scope["shapes"]
    return function


def _source(spec: EngineSpec) -> str:
    """A function from input shapes to (input shapes as the texts have them, output shapes)."""
    lines = ["def shapes(inputs):"]
    known: dict[str, str] = {}
    for index, binding in enumerate(spec.inputs):
        for dim, size in enumerate(binding.shape):
            if isinstance(size, str) and _is_symbol(size):
                known.setdefault(size, f"inputs[{index}][{dim}]")
    for name, read in (known | _solved(spec, known)).items():
        lines.append(f"    {name} = {read}")
        known[name] = read
    known = _read_whole(spec) | known
    rows = [
        "("
        + "".join(f"({''.join(f'{_checked(size, spec, known)}, ' for size in binding.shape)}), " for binding in side)
        + ")"
        for side in (spec.inputs, spec.outputs)
    ]
    lines.append(f"    return {rows[0]}, {rows[1]}")
    return "\n".join(lines)


def _read_whole(spec: EngineSpec) -> dict[str, str]:
    """Sizes of inputs that are no symbols, such as `s0*s1`: where an output has the same, it need not be computed."""
    return {
        size: f"inputs[{index}][{dim}]"
        for index, binding in reversed(list(enumerate(spec.inputs)))
        for dim, size in enumerate(binding.shape)
        if isinstance(size, str) and not _is_symbol(size)
    }


def _solved(spec: EngineSpec, known: Mapping[str, str]) -> dict[str, str]:
    """Symbols that are no size themselves, but stand in one that can be solved for them, such as `2*s0`."""
    texts = [size for binding in (*spec.inputs, *spec.outputs) for size in binding.shape if isinstance(size, str)]
    if all(name in known for text in texts for name in _names(_parsed(text, spec))):
        return {}
    shapes = {str(i): tuple(_sympy(size, spec) for size in b.shape) for i, b in enumerate(spec.inputs)}
    found = {}
    for symbol, source in symbol_sources(shapes).items():
        read = f"inputs[{source.tensor}][{source.dim}]"
        if str(symbol) not in known:
            size = sympy.Symbol("_size", integer=True, positive=True)
            found[str(symbol)] = f"(lambda _size: {source.formula.xreplace({source.size: size})})({read})"
    return found


def _sympy(size: Dim, spec: EngineSpec) -> Any:
    if isinstance(size, int):
        return size
    tree = _parsed(size, spec)
    scope: dict[str, Any] = {name: sympy.Symbol(name, integer=True, positive=True) for name in _names(tree)}
    scope |= {"Max": sympy_functions.Max, "Min": sympy_functions.Min}
    scope |= {name: getattr(sympy, name) for name in ("floor", "ceiling", "Eq", "Ne", "Piecewise", "Abs")}
    scope |= {name: getattr(sympy_functions, name) for name in _SHARED if hasattr(sympy_functions, name)}
    return eval(compile(tree, "<size>", "eval"), {"__builtins__": {}}, scope)


def _parsed(text: str, spec: EngineSpec) -> ast.Expression:
    try:
        tree = ast.parse(text, mode="eval") if len(text) <= _LONGEST else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None or not all(_allowed(part) for part in ast.walk(tree)):
        raise UserError(f"the engine {spec.name!r} has the size {text!r}, which this release cannot compute.")
    return tree


def _allowed(part: ast.AST) -> bool:
    if isinstance(part, ast.Call):
        if not isinstance(part.func, ast.Name) or part.func.id not in _FUNCTIONS or part.keywords:
            return False
        return part.func.id not in _POWERS or (len(part.args) == 2 and _is_exponent(part.args[1]))
    if isinstance(part, ast.Constant):
        return isinstance(part.value, bool | int | float) and abs(part.value) < 2**63
    if isinstance(part, ast.Name):
        return _is_symbol(part.id) or part.id in _FUNCTIONS
    if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow):
        return _is_exponent(part.right)
    return isinstance(part, _PARTS)


def _is_exponent(part: ast.expr) -> bool:
    """Whether it is small: powers of powers would take all memory."""
    if isinstance(part, ast.UnaryOp):
        return _is_exponent(part.operand)
    if isinstance(part, ast.Constant):
        return isinstance(part.value, int | float) and abs(part.value) <= _LARGEST_EXPONENT
    return isinstance(part, ast.Name)


def _is_symbol(name: str) -> bool:
    return _SYMBOL.fullmatch(name) is not None and name not in _RESERVED and not keyword.iskeyword(name)


def _names(tree: ast.Expression) -> set[str]:
    return {part.id for part in ast.walk(tree) if isinstance(part, ast.Name)} - set(_ON_INTS)


def _checked(size: Dim, spec: EngineSpec, known: Mapping[str, str]) -> str:
    if isinstance(size, int):
        return str(size)
    tree = _parsed(size, spec)
    unknown = sorted(_names(tree) - set(known))
    if unknown and size in known:
        return known[size]
    if unknown:
        raise UserError(f"the engine {spec.name!r} has the size {size!r}, but no input's shape tells {unknown[0]}.")
    fractional = any(isinstance(part, ast.Div) for part in ast.walk(tree))
    text = ast.unparse(tree)
    # Sympy writes an exact half of an even number as s0/2, also inside sums.
    return f"_exact({text})" if fractional else f"({text})"
