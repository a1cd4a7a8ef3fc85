"""A region of a TorchScript graph as a Program, and the condition under which its engines do what it does."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch

from ...errors import UserError, first_line
from ...ir.input import Input
from ...ir.program import Program
from ..exported_program import trace
from ..module_view import ModuleView
from .conversion import refusal
from .decisions import DeclaredSizes
from .grid import Quantised
from .inlined import Inlined
from .interpreter import Interpreter
from .observed import Seen
from .regions import Region
from .traced_numbers import plain
from .twin import Twin

QUANTISED_TYPES = (torch.qint8, torch.quint8, torch.qint32, torch.quint4x2, torch.quint2x4)


class NotConverted(Exception):
    """A region that cannot be a Program, with a clause that says why."""


@dataclass(frozen=True, eq=False)
class Block:
    """A region that PyTorch exported.

    Attributes:
        region: the ops.
        program: what they do, for tensors of the sizes that were seen.
        numbers: what the numbers that it takes have to be.
        condition: of what it is given, in TorchScript: whether the program is what the region does.
    """

    region: Region
    program: Program
    numbers: tuple[Any, ...]
    condition: str

    @property
    def names(self) -> list[str]:
        """What the arguments are called: tensors, and numbers after them."""
        return [*_names(self.region), *(f"n{index}" for index in range(len(self.numbers)))]


def exported_block(region: Region, model: Inlined, twin: Twin, root: str, seen: Seen) -> Block:
    """A region as a Program, for what was seen.

    Of a quantised tensor that it gives, the program gives what its numbers stand for.

    Raises:
        NotConverted: it was not reached, or cannot be exported.
    """
    inputs = [_input(seen.of(name)) for name in region.tensors]
    numbers = []
    for name in region.numbers:
        values = seen.of(name)
        if not values or any(type(value) is not type(values[-1]) or value != values[-1] for value in values):
            what = "was not reached with these inputs" if not values else "is computed from a number that changes"
            raise NotConverted(f"it {what}")
        numbers.append(values[-1])
    names = _names(region)
    sizes = DeclaredSizes(dict(zip(names, inputs, strict=True)))
    signature = inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names])

    def forward(*tensors: Any) -> Any:
        sizes.read(dict(zip(names, tensors, strict=True)))
        known = {root: twin, **dict(zip(region.numbers, numbers, strict=True))}
        known.update(zip(region.tensors, tensors, strict=True))
        try:
            Interpreter(sizes).region(twin, [*region.pulled, *region.ops], known, model.origin)
        except UserError:
            raise
        except Exception as error:
            raise refusal(error) from error
        values = (known[name] for name in region.outputs)
        return tuple(value.real if isinstance(value, Quantised) else plain(value) for value in values)

    forward.__signature__ = signature  # type: ignore[attr-defined]
    try:
        program = trace(ModuleView(twin, forward), inputs)
        condition = _condition(program, names, inputs, numbers)
    except Exception as error:
        raise NotConverted(first_line(error).rstrip(".")) from error
    return Block(region, program, tuple(numbers), condition)


def _names(region: Region) -> list[str]:
    return [f"x{index}" for index in range(len(region.tensors))]


def _input(values: Sequence[Any]) -> Input:
    """What a tensor is declared as: of the type and rank that it had last, of all sizes that it had."""
    if not values:
        raise NotConverted("it was not reached with these inputs")
    dtype, usual = values[-1]
    if dtype in QUANTISED_TYPES:
        raise NotConverted("it takes a quantised tensor")
    shapes = [shape for kind, shape in values if kind == dtype and len(shape) == len(usual)]
    least, most = (tuple(map(choose, zip(*shapes, strict=True))) for choose in (min, max))
    if not all(least):
        raise NotConverted("it takes a tensor without elements")
    return Input(min_shape=least, opt_shape=usual, max_shape=most, dtype=dtype)


def _condition(program: Program, names: Sequence[str], inputs: Sequence[Input], numbers: Sequence[Any]) -> str:
    """TorchScript that tells whether arguments are such as the program was made for."""
    checks = [f"n{index} == {number!r}" for index, number in enumerate(numbers)]
    given = {node.name: node.meta["val"] for node in program.user_inputs}
    values = list(given.values())
    if len(values) != len(inputs):
        raise NotConverted("PyTorch exports it with other arguments")
    known: dict[str, str] = {}
    later: list[str] = []
    for name, declared, value in zip(names, inputs, values, strict=True):
        checks += [f"{name}.dtype == {declared.dtype}", f"{name}.dim() == {value.dim()}"]
        for dim, size in enumerate(value.shape):
            text = f"{name}.size({dim})"
            if not isinstance(size, torch.SymInt):
                checks.append(f"{text} == {size}")
                continue
            checks += [f"{text} >= {declared.min_shape[dim]}", f"{text} <= {declared.max_shape[dim]}"]
            expression = size.node.expr
            if expression.is_Symbol and str(expression) not in known:
                known[str(expression)] = text
            else:
                later.append(f"{text} == {_written(expression)}")
    for check in later:
        checks.append(_substituted(check, known))
    return " and ".join(checks) or "True"


def _written(expression: Any) -> str:
    kinds = (sympy.Add, sympy.Mul, sympy.Integer, sympy.Symbol)
    if any(not isinstance(part, kinds) for part in sympy.preorder_traversal(expression)):
        raise NotConverted(f"it takes sizes that depend on each other: {expression}")
    return str(expression)


def _substituted(check: str, known: dict[str, str]) -> str:
    def text(word: re.Match[str]) -> str:
        if word[0] not in known:
            raise NotConverted("it takes sizes that depend on a size of nothing it takes")
        return known[word[0]]

    left, _, right = check.partition(" == ")
    return f"{left} == " + re.sub(r"[A-Za-z_]\w*", text, right)
