"""The ranges of a program's inputs: those that it has itself, those that are declared, and whether they agree."""

from __future__ import annotations

from collections.abc import Sequence

import sympy
import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from ..errors import UserError
from ..ir.annotations import annotate_node
from ..ir.input import Input, profile_count
from ..ir.least_values import lower_least_values
from ..ir.program import Program
from ..ir.symbols import example_size, finite
from .default_types import write_default_types
from .size_decisions import advice_on_number, line_of_limit, line_of_number

Declared = tuple[tuple[int, int, int], ...]
"""Smallest, usual and largest size of a dimension in every optimization profile."""


def own_inputs(exported: ExportedProgram) -> tuple[Input, ...]:
    """Inputs as the program's own range constraints declare them; empty when a dimension has no upper bound."""
    found = []
    for node in Program(exported).user_inputs:
        value = node.meta["val"]
        ranges = _ranges(exported, value) if isinstance(value, torch.Tensor) else [None]
        if any(item is None for item in ranges):
            return ()
        low, opt, high = ([item[i] for item in ranges if item is not None] for i in range(3))
        found.append(Input(min_shape=low, opt_shape=opt, max_shape=high, dtype=value.dtype, name=node.name))
    return tuple(found)


def input_like_example(exported: ExportedProgram, node: Node, example: Input) -> Input:
    """An input with the program's own ranges, and an example's sizes as the usual ones.

    Raises:
        UserError: the example is outside the ranges, or a dimension has no largest size.
    """
    value = node.meta["val"]
    if value.dim() != len(example.shape):
        return example
    corners: list[tuple[int, int, int]] = []
    for dim, (size, given, limits) in enumerate(zip(value.shape, example.shape, _ranges(exported, value), strict=True)):
        if limits is None:
            raise UserError(
                f"dimension {dim} of input {node.name!r} has no largest size in the exported program, and TensorRT "
                "needs one: give tp.Input(min_shape=…, opt_shape=…, max_shape=…) for it instead of an example, or "
                "export with torch.export.Dim(…, max=…)."
            )
        low, _, high = limits
        if isinstance(size, torch.SymInt) and not low <= given <= high:
            raise UserError(
                f"the example for input {node.name!r} has size {given} in dimension {dim}, but the program was "
                f"exported for {low}..{high}: give an example inside that."
            )
        corners.append((low, given, high) if isinstance(size, torch.SymInt) else (given, given, given))
    low_shape, opt_shape, high_shape = ([corner[i] for corner in corners] for i in range(3))
    return Input(
        min_shape=low_shape,
        opt_shape=opt_shape,
        max_shape=high_shape,
        dtype=example.dtype,
        name=example.name,
        format=example.format,
    )


def _ranges(exported: ExportedProgram, value: torch.Tensor) -> Sequence[tuple[int, int, int] | None]:
    return [_range_of(exported, size) for size in value.shape]


def _range_of(exported: ExportedProgram, size: int | torch.SymInt) -> tuple[int, int, int] | None:
    if isinstance(size, int):
        return size, size, size
    known = {symbol: limits for symbol, limits in exported.range_constraints.items() if symbol.is_Symbol}
    expr = size.node.expr
    if not expr.free_symbols <= known.keys():
        return None
    limits = bound_sympy(expr, known)
    low, high = finite(limits.lower), finite(limits.upper)
    if low is None or high is None:
        return None
    usual = example_size(size)
    return low, min(max(high if usual is None else usual, low), high), high


def with_inputs(exported: ExportedProgram, inputs: tuple[Input, ...], tried: bool = False) -> Program:
    """The program with declared inputs, after checking them against what the exporter found.

    `tried` says that the caller tries the model at size 0, where that is declared and the exporter assumed otherwise.
    """
    program = Program(exported)
    nodes = [node for node in program.user_inputs if isinstance(node.meta.get("val"), torch.Tensor)]
    if len(nodes) != len(inputs):
        raise UserError(f"the model takes {len(nodes)} tensors, but {len(inputs)} inputs are given.")
    count = profile_count(inputs)
    named: list[Input] = []
    seen: dict[sympy.Expr, tuple[str, Declared]] = {}
    for node, item in zip(nodes, inputs, strict=True):
        name = item.name or node.name
        value = node.meta["val"]
        if value.dim() != len(item.shape):
            raise UserError(
                f"input {name!r} is declared with rank {len(item.shape)}, but the model takes rank {value.dim()}."
            )
        if value.dtype != item.dtype:
            raise UserError(
                f"input {name!r} is declared as {item.dtype}, but the model was exported with {value.dtype}."
            )
        for dim, size in enumerate(value.shape):
            profiles = item.profiles * (count // len(item.profiles))
            declared = tuple((low[dim], usual[dim], high[dim]) for low, usual, high in profiles)
            _check_dimension(exported, f"input {name!r} dimension {dim}", size, declared, seen, tried)
        named.append(Input(shapes=item.profiles, dtype=item.dtype, name=name, format=item.format))
    stamped_program = stamped(Program(exported, tuple(named)))
    constraints = stamped_program.exported.range_constraints
    for symbol, (_, ranges) in seen.items():
        low = min(least for least, _, _ in ranges)
        limits = constraints.get(symbol)
        # torch.export assumes sizes of at least 2 while tracing; a declared 0 or 1 holds as much as with Dim(min=…).
        if limits is not None and low <= 1 and limits.lower <= 2:
            constraints[symbol] = ValueRanges(low, limits.upper)
    lower_least_values(stamped_program.exported, constraints)
    return stamped_program


def stamped(program: Program) -> Program:
    """The program with every op node annotated with its own name, which tells later where a node comes from.

    What it makes has the types that it had when it was traced, whatever PyTorch's default type is later.
    """
    program = program.copy()
    write_default_types(program)
    for node in program.op_nodes:
        annotate_node(node, origin=node.name)
    return program


def _check_dimension(
    exported: ExportedProgram,
    what: str,
    size: int | torch.SymInt,
    declared: Declared,
    seen: dict[sympy.Expr, tuple[str, Declared]],
    tried: bool,
) -> None:
    low, high = min(profile[0] for profile in declared), max(profile[2] for profile in declared)
    text = f"{low}..{high}" if low != high else str(low)
    fixed = size if isinstance(size, int) else (int(size) if size.node.expr.is_Integer else None)
    if fixed is not None:
        if (low, high) != (fixed, fixed):
            line = line_of_number(size)
            place = f" ({line})" if line else ""
            raise UserError(
                f"{what} is declared as {text}, but the model fixes it to {fixed}{place}: {advice_on_number(line)}."
            )
        return
    assert isinstance(size, torch.SymInt)
    symbol = size.node.expr
    if not symbol.is_Symbol:
        return
    limits = exported.range_constraints.get(symbol)
    if limits is not None:
        # torch.export assumes sizes of at least 2 while tracing, which is no limit of the model's.
        least = limits.lower
        if 0 < least <= 2:
            least = 0 if tried else 1
        if high > limits.upper or low < least:
            least = max(least, 1)
            allowed = f"{least}..{limits.upper}" if limits.upper.is_Integer else f"{least} or more"
            line = line_of_limit(size, upper=high > limits.upper)
            place = f" ({line})" if line else ""
            raise UserError(
                f"{what} is declared as {text}, but torch.export found that the model allows {allowed}{place}: declare "
                "a range inside that."
            )
    other = seen.setdefault(symbol, (what, declared))
    if other[1] != declared:
        first, second = (
            " or ".join(f"{least}..{most} (usual {usual})" for least, usual, most in ranges)
            for ranges in (other[1], declared)
        )
        raise UserError(
            f"conflicting ranges: {other[0]} is {first} and {what} is {second}, but the model needs them to be equal: "
            "declare the same range for both."
        )
