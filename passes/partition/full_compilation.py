"""The check behind the setting `require_full_compilation`."""

from __future__ import annotations

from collections import Counter

import torch
from torch.fx import Node

from ...compiler.errors import UserError
from ...compiler.ir.annotations import reasons_of, verdict_of
from ...compiler.ir.ledger import Verdict
from ...compiler.ir.program import Program
from ...compiler.ir.source import source_of
from ...compiler.ir.text import op_name
from ...compiler.settings import Settings

_SHOWN = 10
_HARMLESS = frozenset({"TP303", "TP307"})  # a size that only the caller uses, and what is computed once


def check_full_compilation(program: Program, settings: Settings) -> None:
    """Raise UserError, with the reasons, if the whole program must become one engine and does not."""
    if not settings.require_full_compilation:
        return
    groups: Counter[tuple[str, str, str]] = Counter()
    for node in program.op_nodes:
        reasons = reasons_of(node)
        if verdict_of(node) is Verdict.TRT or (reasons and all(reason.code in _HARMLESS for reason in reasons)):
            continue
        if settings.truncate_double and program.segments and _casts_float64(node):
            continue
        first = reasons[0] if reasons else None
        groups[op_name(node.target), first.code if first else "", first.message if first else ""] += 1
    if not groups and len(program.segments) == 1:
        return
    if not groups and not program.segments:
        raise UserError(
            "the model computes nothing that TensorRT could, so there is no engine to make: call it as it is."
        )
    if not groups:
        raise UserError(
            "the whole model should become one engine (require_full_compilation, or convert_to_engine), but it becomes "
            f"{len(program.segments)} engines: {_why_divided(program)}."
        )
    left = sum(groups.values())
    lines = [
        f"  {count} x {op}: {code} {message}".rstrip() for (op, code, message), count in groups.most_common(_SHOWN)
    ]
    if len(groups) > _SHOWN:
        lines.append(f"  and {len(groups) - _SHOWN} more reasons")
    head = (
        "the whole model should become one engine (require_full_compilation, or convert_to_engine), but "
        f"{left} of {len(program.op_nodes)} op nodes stay in PyTorch and there are {len(program.segments)} engines "
        "instead of one: fix what is listed, or compile without that."
    )
    raise UserError("\n".join([head, *lines]))


def _why_divided(program: Program) -> str:
    """Why a program of which nothing stays in PyTorch is more than one engine, and what to do."""
    nodes = program.nodes_by_name
    later = {name for segment in program.segments[1:] for name in segment.nodes}
    cuts = [name for name in getattr(program.partitioned_by, "cut_before", ()) if name in later]
    if not cuts:
        return (
            f"it has {len(program.op_nodes):,} op nodes, and one engine would have more layers than the builder takes "
            "well (see the notes above, or max_segment_nodes of partition). Compile without that, or in parts"
        )
    places = ", ".join(f"%{name}" + (f" ({source_of(nodes[name])})" if source_of(nodes[name]) else "") for name in cuts)
    return (
        f"they are cut before {places}, since building took longer than build_seconds, or partition was told to. Raise "
        "build_seconds (0 is no limit), or compile without that"
    )


def _casts_float64(node: Node) -> bool:
    """Whether a node casts a float64 input or output of the program, whose types `truncate_double` keeps."""
    values = [node.meta.get("val"), *(source.meta.get("val") for source in node.all_input_nodes)]
    is_cast = node.target is torch.ops.aten._to_copy.default
    return is_cast and any(isinstance(value, torch.Tensor) and value.dtype is torch.float64 for value in values)
