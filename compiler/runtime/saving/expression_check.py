"""Check the texts of symbolic sizes in an exported program, which PyTorch has sympy evaluate as Python."""

from __future__ import annotations

import ast
import re
from typing import Any

_LONGEST = 100_000
_CHARACTERS = re.compile(r"[A-Za-z0-9_ .,()'=+*/%<>&|~-]*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_NUMBER = re.compile(r"-?[0-9.]{1,400}(e[+-]?[0-9]{1,3})?")
_LARGEST = 64
"""Exponent."""

_POWERS = frozenset({"Pow", "PowByNatural", "FloatPow", "LShift", "RShift"})
_GROWING = _POWERS | {"Mul"}
_FUNCTIONS = _POWERS | frozenset(
    {
        *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Max", "Min", "Abs", "Mod", "floor", "ceiling"),
        *("Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "And", "Or", "Not", "ITE", "Piecewise"),
        *("StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "ExprCondPair"),
        *("FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv", "CeilDiv", "CeilToInt", "FloorToInt"),
        *("FloatTrueDiv", "IntTrueDiv", "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat"),
        *("OpaqueUnaryFn_sqrt", "BitwiseFn_bitwise_and", "BitwiseFn_bitwise_or"),
        *("Identity", "IsNonOverlappingAndDenseIndicator"),
    }
)
_CONSTANTS = frozenset({"true", "false", "oo", "int_oo"})
_PARTS = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Load, ast.Tuple),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd, ast.Invert),
    *(ast.BitAnd, ast.BitOr, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)


def check_expression(text: Any) -> None:
    """Raise ValueError unless a text is a formula over symbols: functions of a short list, applied to such."""
    tree = None
    if isinstance(text, str) and len(text) <= _LONGEST and _CHARACTERS.fullmatch(text):
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            tree = None
    if tree is None or not all(_is_allowed(part) for part in _parts(tree)):
        shown = text if isinstance(text, str) and len(text) < 80 else "a text"
        raise ValueError(f"{shown!r} is no size")


def _parts(tree: ast.Expression) -> list[ast.AST]:
    """The parts of a formula, without names of functions and the arguments of symbols and numbers."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        part = waiting.pop()
        found.append(part)
        if isinstance(part, ast.Call):
            waiting += [] if _is_atom(part) else part.args
        else:
            waiting += ast.iter_child_nodes(part)
    return found


def _is_allowed(part: ast.AST) -> bool:
    if isinstance(part, ast.Call):
        return _is_atom(part) or _is_function(part)
    if isinstance(part, ast.Constant):
        return type(part.value) in (bool, int, float)
    if isinstance(part, ast.Name):
        # What has no meaning to sympy is a symbol; what has one must not be an object with attributes to call.
        return _NAME.fullmatch(part.id) is not None and (part.id in _CONSTANTS or part.id[-1].isdigit())
    if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow):
        return _is_small(part.right)
    return isinstance(part, _PARTS)


def _is_function(part: ast.Call) -> bool:
    if not isinstance(part.func, ast.Name) or part.func.id not in _FUNCTIONS or part.keywords:
        return False
    return part.func.id not in _POWERS or (len(part.args) == 2 and _is_small(part.args[1]))


def _is_atom(part: ast.Call) -> bool:
    """Whether it is a symbol with its assumptions, or a number with its precision, as sympy writes them down."""
    if not isinstance(part.func, ast.Name) or part.func.id not in ("Symbol", "Float") or len(part.args) != 1:
        return False
    argument = part.args[0]
    pattern = _NAME if part.func.id == "Symbol" else _NUMBER
    named = isinstance(argument, ast.Constant) and isinstance(argument.value, str) and pattern.fullmatch(argument.value)
    values = [item.value for item in part.keywords]
    return bool(named) and all(
        isinstance(value, ast.Constant) and (isinstance(value.value, bool) or _is_precision(value.value))
        for value in values
    )


def _is_precision(value: Any) -> bool:
    return type(value) is int and 0 < value <= 1000


def _is_small(part: ast.expr) -> bool:
    """Whether an exponent is: powers of powers would take all memory."""
    for item in ast.walk(part):
        large = isinstance(item, ast.Constant) and isinstance(item.value, int | float) and abs(item.value) > _LARGEST
        called = item.func.id if isinstance(item, ast.Call) and isinstance(item.func, ast.Name) else ""
        if large or called in _GROWING or isinstance(item, ast.Pow | ast.Mult):
            return False
    return True
