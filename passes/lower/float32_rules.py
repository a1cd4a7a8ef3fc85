"""Which nodes a user keeps in float32, by name or by how many numbers a product adds up."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping

import torch
from torch.fx import Node

from ...compiler.ir.annotations import annotations_of, is_exact
from ...compiler.ir.called_from import full_class_name, modules_around, operator_names
from ...compiler.ir.program import Program
from ...compiler.pass_base import Context
from .precision_table import computes_narrow
from .values import tensor_of

aten = torch.ops.aten

_CONVOLUTIONS = frozenset({aten.convolution.default, *(getattr(aten, f"conv{n}d").default for n in (1, 2, 3))})


def kept_by_rule(program: Program, ctx: Context) -> Mapping[str, str]:
    """The reasons for which nodes stay in float32 by the settings `keep_in_float32` and `max_depth_of_reduction`.

    Names that match nothing are noted.
    """
    names, depth = ctx.settings.keep_in_float32, ctx.settings.max_depth_of_reduction
    if not names and depth is None:
        return {}
    found, used = {}, set()
    for node in program.op_nodes:
        matching = sorted(_matching(node, names))
        used |= set(matching)
        if matching:
            found[node.name] = f"keep_in_float32 has {matching[0]}"
        elif depth is not None and (terms := _terms(node)) is not None and terms > depth:
            found[node.name] = f"it adds up {terms} numbers, and max_depth_of_reduction is {depth}"
    for name in sorted(names - used):
        ctx.note(f"keep_in_float32 has {name}, which matches nothing in this program.")
    return found


def exact_nodes(program: Program) -> Mapping[str, str]:
    """What stays in float32: Fourier transforms, as autocast has it, and what another pass says so of; with reasons."""
    said = ((node.name, annotations_of(node).get("float32")) for node in program.op_nodes)
    found = {name: str(reason) for name, reason in said if reason is not None}
    return found | {node.name: "part of a Fourier transform" for node in program.op_nodes if is_exact(node)}


def _matching(node: Node, names: Collection[str]) -> set[str]:
    """Those of the names that a node can be meant by: operators, modules, classes, or patterns of its own name."""
    known = {*operator_names(node), *(text for entry in modules_around(node) for text in entry)}
    paths = [node.name, *(path for path, *_ in modules_around(node))]
    return {
        name
        for name in names
        if {name, full_class_name(name)} & known or any(_is_pattern_of(name, path) for path in paths)
    }


def _is_pattern_of(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return False


def _terms(product: Node) -> int | None:
    """How many numbers a product adds up for one of its results; None for what is no product, or of varying size."""
    if not computes_narrow(product.target) or product.target is aten.embedding.default:
        return None
    tensors = [tensor for source in product.all_input_nodes if (tensor := tensor_of(source)) is not None]
    if product.target is aten.scaled_dot_product_attention.default:
        sizes = [tensors[0].shape[-1], tensors[1].shape[-2]]
        return max(size for size in sizes if isinstance(size, int)) if isinstance(sizes[0], int) else None
    operands = [tensor for tensor in tensors if tensor.dim() >= 2] or tensors
    if product.target in _CONVOLUTIONS:
        sizes = list(operands[1].shape[1:])
    else:
        first = operands[1] if "addmm" in str(product.target) and len(operands) > 2 else operands[0]
        sizes = [first.shape[-1]]
    return math.prod(sizes) if all(isinstance(size, int) for size in sizes) else None
