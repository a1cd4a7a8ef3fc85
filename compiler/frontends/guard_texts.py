"""Conditions on sizes that torch.export writes into a file as Python text: read as formulas, and never run unread."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.utils._sympy.functions import FloorDiv, Max, Min, Mod

from ..ir.symbols import expression

_ROOT = "L"
"""What PyTorch calls the arguments of a call, by name."""

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.FloorDiv: FloorDiv,
        ast.Mod: Mod,
    }
)
_COMPARED: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = MappingProxyType(
    {ast.Eq: sympy.Eq, ast.NotEq: sympy.Ne, ast.Lt: sympy.Lt, ast.LtE: sympy.Le, ast.Gt: sympy.Gt, ast.GtE: sympy.Ge}
)
_FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "max": Max,
        "min": Min,
        "abs": sympy.Abs,
        "float": lambda number: number,
        "int": sympy.floor,  # sizes are not negative
        "math.ceil": sympy.ceiling,
        "math.floor": sympy.floor,
        "math.trunc": sympy.floor,
        "math.sqrt": sympy.sqrt,
    }
)
_LARGEST_POWER = 8
_LONGEST = 10_000
"""Characters of a text. Those of real models have some hundreds."""

_OF_A_TENSOR: Mapping[str, Callable[[torch.Tensor], Any]] = MappingProxyType(
    {"size": torch.Tensor.size, "stride": torch.Tensor.stride, "storage_offset": torch.Tensor.storage_offset}
)


class NoCondition(ValueError):
    """A text is something else than a comparison of sizes."""


def conditions_in_texts(exported: ExportedProgram) -> Iterator[sympy.Basic]:
    """The conditions on sizes that a program has as texts, for what it knows of its inputs.

    Those that hang on something else than sizes of inputs are left out.
    """
    tensors = {node.name: node.meta.get("val") for node in exported.graph.find_nodes(op="placeholder")}
    for text in getattr(exported, "_guards_code", ()):
        try:
            yield _Reader(tensors).read(text)
        except NoCondition:
            continue


def is_condition(text: Any) -> bool:
    """Whether a text is a condition on sizes of arguments, and nothing that could do anything when it is run."""
    try:
        condition_in_text(text)
    except NoCondition:
        return False
    return True


def condition_in_text(text: Any) -> sympy.Basic:
    """The condition, with a symbol for each size of an argument.

    Raises:
        NoCondition: the text is no comparison of sizes.
    """
    return _Reader(None).read(text)


class _Reader:
    """Reads a text; without tensors every size is a symbol."""

    def __init__(self, tensors: Mapping[str, Any] | None) -> None:
        self.tensors = tensors

    def read(self, text: Any) -> sympy.Basic:
        try:
            if not isinstance(text, str) or len(text) > _LONGEST:
                raise NoCondition("it is no text, or too long")
            found = self._value(ast.parse(text, mode="eval").body)
        except (SyntaxError, RecursionError, MemoryError, TypeError, ZeroDivisionError) as error:
            raise NoCondition(str(text)[:100]) from error
        if isinstance(found, sympy.Symbol) or not isinstance(found, sympy.logic.boolalg.Boolean):
            raise NoCondition(str(text)[:100])
        return found

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return sympy.sympify(number)
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() as power)) if (
                power <= _LARGEST_POWER
            ):
                return self._value(left) ** power
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
                return _BINARY[type(sign)](self._value(left), self._value(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._value(operand)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return sympy.Not(self._value(operand))
            case ast.BoolOp(op=sign, values=values):
                joined: Any = sympy.And if isinstance(sign, ast.And) else sympy.Or
                return joined(*map(self._value, values))
            case ast.Compare(left=left, ops=signs, comparators=others) if all(
                type(sign) in _COMPARED for sign in signs
            ):
                values = [self._value(each) for each in (left, *others)]
                pairs = zip(signs, values, values[1:], strict=False)
                return sympy.And(*(_COMPARED[type(sign)](one, other) for sign, one, other in pairs))
            case ast.Call(func=function, args=arguments, keywords=[]) if ast.unparse(function) in _FUNCTIONS:
                return _FUNCTIONS[ast.unparse(function)](*map(self._value, arguments))
            case ast.Subscript(value=ast.Call() as call, slice=ast.Constant(value=int() as dim)):
                return self._of_tensor(call, dim)
            case ast.Call():
                return self._of_tensor(node, None)
        raise NoCondition(ast.unparse(node)[:100])

    def _of_tensor(self, call: ast.Call, dim: int | None) -> Any:
        """A size, `L['x'].size()[0]`, or the like."""
        match call:
            case ast.Call(func=ast.Attribute(value=path, attr=name), args=[], keywords=[]) if name in _OF_A_TENSOR:
                place = "_".join(_path(path))
                if self.tensors is None:
                    return sympy.Symbol(f"{place}.{name}{dim}", integer=True, positive=True)
                tensor = self.tensors.get(place)
                if isinstance(tensor, torch.Tensor):
                    value = _OF_A_TENSOR[name](tensor)
                    numbers = value if isinstance(value, tuple) else (value,)
                    if dim is None or dim < len(numbers):
                        return sympy.sympify(expression(numbers[dim or 0]))
        raise NoCondition(ast.unparse(call)[:100])


def _path(node: ast.expr) -> list[str]:
    """The keys of an argument, `L['m']['a'][0]`, which together are the name of its placeholder."""
    match node:
        case ast.Name(id=name) if name == _ROOT:
            return []
        case ast.Subscript(value=value, slice=ast.Constant(value=str() | int() as key)):
            return [*_path(value), str(key)]
        case ast.Attribute(value=value, attr=name) if not name.startswith("_"):
            return [*_path(value), name]
    raise NoCondition(ast.unparse(node)[:100])
