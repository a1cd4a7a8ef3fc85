"""A sample with axes of varying size: which can vary, over which ranges, and the trial at both ends and between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sympy
import torch
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import Node
from torch.utils import _pytree as pytree
from trt_passes.compiler.ir.input import Input
from trt_passes.compiler.ir.program import Program

from .orders import in_order
from .outcome import Kind, Outcome
from .samples import Sample
from .trial import Tensors, agree, comparable, compiled_outcome, eager, first_line

_SINGLE_AXES = 3
"""How many axes are tried alone where not all can vary at once."""

Sizes = Mapping[sympy.Symbol, int]


def dynamic_outcome(sample: Sample) -> Outcome:
    """A sample with all the axes that can vary, or where that is refused, with one of them."""
    try:
        eager(sample, sample.tensors)
    except Exception as error:
        return Outcome(Kind.NOT_APPLICABLE, f"eager: {first_line(error)}")
    everything = [{dim for dim, size in enumerate(tensor.shape) if size >= 2} for tensor in sample.tensors]
    try:
        exported = _exported(sample, everything)
    except Exception as error:
        return Outcome(Kind.NOT_EXPORTED, first_line(error), axes="all")
    symbols = list(_sizes_of(exported, sample))
    outcome = replace(_tried(sample, exported), axes="all")
    if outcome.kind is not Kind.REFUSED or len(symbols) < 2:
        return outcome
    shapes = [_shape(node.meta["val"]) for node in Program(exported).user_inputs]
    for symbol in symbols[:_SINGLE_AXES]:
        axes = [{dim for dim, size in enumerate(shape) if symbol in size.free_symbols} for shape in shapes]
        try:
            alone = replace(_tried(sample, _exported(sample, axes)), axes="one")
        except Exception:
            continue
        if alone.kind in (Kind.RIGHT, Kind.WRONG):
            return alone
    return outcome


def _exported(sample: Sample, axes: Sequence[set[int]]) -> ExportedProgram:
    shapes = tuple(dict.fromkeys(sorted(dims), Dim.AUTO) or None for dims in axes)
    return torch.export.export(sample.module, sample.copies(), dynamic_shapes=(shapes,), strict=False)


def _shape(value: torch.Tensor) -> tuple[sympy.Expr, ...]:
    return tuple(size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size) for size in value.shape)


def _sizes_of(exported: ExportedProgram, sample: Sample) -> dict[sympy.Symbol, int]:
    """The independent sizes of the inputs, in order of appearance, and what they are in the sample."""
    found: dict[sympy.Symbol, int] = {}
    for node, tensor in zip(Program(exported).user_inputs, sample.tensors, strict=True):
        for expr, size in zip(_shape(node.meta["val"]), tensor.shape, strict=True):
            if expr.is_Symbol:
                found.setdefault(expr, size)
    return found


def _tried(sample: Sample, exported: ExportedProgram) -> Outcome:
    usual = _sizes_of(exported, sample)
    shapes = [_shape(node.meta["val"]) for node in Program(exported).user_inputs]
    unknown = {symbol for shape in shapes for size in shape for symbol in size.free_symbols} - set(usual)
    if not usual or unknown:
        return Outcome(Kind.NOT_APPLICABLE, "no axis can vary")
    low = _first_valid(sample, exported, shapes, _smaller(exported, usual)) or usual
    high = _first_valid(sample, exported, shapes, _larger(exported, usual)) or usual
    if low == high:
        return Outcome(Kind.NOT_APPLICABLE, "no other sizes fit the sample's values")
    corners = [low, usual, high]
    inputs = [
        Input(
            min_shape=_at(shape, low),
            opt_shape=_at(shape, usual),
            max_shape=_at(shape, high),
            dtype=tensor.dtype,
        )
        for shape, tensor in zip(shapes, sample.tensors, strict=True)
    ]
    return compiled_outcome(sample, exported, inputs, [_resized(sample, shapes, sizes) for sizes in corners])


def _smaller(exported: ExportedProgram, usual: Sizes) -> Iterator[Sizes]:
    for wanted in (1, 2):
        yield {symbol: max(wanted, _least(exported, symbol)) for symbol in usual}


def _larger(exported: ExportedProgram, usual: Sizes) -> Iterator[Sizes]:
    for factor, more in ((2, 0), (1, 1)):
        yield {symbol: min(size * factor + more, _most(exported, symbol)) for symbol, size in usual.items()}


def _least(exported: ExportedProgram, symbol: sympy.Symbol) -> int:
    # torch.export assumes at least 2 while tracing; the program holds for 1 unless it found a larger bound.
    limits = exported.range_constraints.get(symbol)
    return 1 if limits is None or limits.lower <= 2 else int(limits.lower)


def _most(exported: ExportedProgram, symbol: sympy.Symbol) -> int:
    limits = exported.range_constraints.get(symbol)
    return int(limits.upper) if limits is not None and limits.upper.is_Integer else 2**31


def _first_valid(
    sample: Sample, exported: ExportedProgram, shapes: Sequence[Sequence[sympy.Expr]], choices: Iterator[Sizes]
) -> Sizes | None:
    """The first sizes with which eager runs, and the exported program says the same and has recorded the same shapes.

    The last differs where the exporter took every size for at least 2, and then so does the rank of `x.squeeze()`.
    """
    module = exported.module(check_guards=False)
    for sizes in choices:
        try:
            tensors = _resized(sample, shapes, sizes)
            expected = eager(sample, tensors)
            if comparable(expected) and _as_recorded(exported, sizes, expected):
                agree(eager(replace(sample, module=module), tensors), expected)
                return sizes
        except Exception:
            continue
    return None


def _as_recorded(exported: ExportedProgram, sizes: Sizes, result: Any) -> bool:
    """Whether results have the shapes that the program's graph holds for these sizes."""
    specs = exported.graph_signature.output_specs
    named = {spec.arg.name for spec in specs if spec.kind is OutputKind.USER_OUTPUT}
    values = [
        node.meta["val"]
        for node in exported.graph.output_node().args[0]
        if isinstance(node, Node) and node.name in named and isinstance(node.meta["val"], torch.Tensor)
    ]
    found = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    return len(values) == len(found) and all(map(_fits, values, found, [sizes] * len(found)))


def _fits(value: torch.Tensor, found: torch.Tensor, sizes: Sizes) -> bool:
    expected = [size.subs(sizes) for size in _shape(value)]
    return len(expected) == found.dim() and all(
        bool(size.free_symbols) or int(size) == length for size, length in zip(expected, found.shape, strict=True)
    )


def _at(shape: Sequence[sympy.Expr], sizes: Sizes) -> tuple[int, ...]:
    return tuple(int(size.subs(sizes)) for size in shape)


def _resized(sample: Sample, shapes: Sequence[Sequence[sympy.Expr]], sizes: Sizes) -> Tensors:
    """The sample's tensors, cut or repeated to other sizes."""
    tensors = []
    for tensor, shape in zip(sample.tensors, shapes, strict=True):
        for dim, size in enumerate(_at(shape, sizes)):
            if size != tensor.shape[dim]:
                tensor = tensor.index_select(dim, torch.arange(size) % tensor.shape[dim])
        tensors.append(tensor)
    return in_order(sample, tensors)
