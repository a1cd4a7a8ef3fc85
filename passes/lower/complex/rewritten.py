"""A program with its complex operators computed by pairs of real tensors, as many of them as can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ....compiler.ir.annotations import annotate_node
from ....compiler.ir.expanded_call import NotExpandable
from ....compiler.ir.program import Program, is_getitem
from ....compiler.pass_base import Context
from ..values import remove_dead
from .bodies import bodies_in_pairs
from .constants import Constants
from .found import has_complex
from .rewriting import Rewriting
from .rules import rules
from .selection import left_for_itself, left_for_others

_NAMED = 12
"""Nodes that a note names; the rest is counted."""


def rewritten(program: Program, ctx: Context, count: int) -> Program:
    """A copy in which all are rewritten that have a rule; tells through `ctx.note` how many of `count` these are."""
    table = _decompositions(ctx)
    bodies_in_pairs(program, table, ctx.settings.truncate_double)
    left = _left(program, ctx)
    while True:
        left |= left_for_others(program, left)
        attempt = program.copy()
        failed = _rewrite(attempt, left, table)
        if not failed:
            break
        left |= failed
    _note(ctx, count, left)
    return attempt


def _left(program: Program, ctx: Context) -> dict[str, str]:
    """The complex operators that stay as they are, by name, with the reason."""
    known, wide = rules(Constants(program)), ctx.settings.truncate_double
    left: dict[str, str] = {}
    for node in filter(has_complex, program.op_nodes):
        producer = node.all_input_nodes[0].name if is_getitem(node) else ""
        reason = left.get(producer) or left_for_itself(node, known, wide)
        if reason is not None:
            left[node.name] = reason
    return left


def _decompositions(ctx: Context) -> Mapping[Any, Any]:
    """PyTorch's own, down to core ATen, without those of operators that a converter takes whole."""
    whole = frozenset(ctx.converters.composite_targets())
    table = dict(torch.export.default_decompositions())
    return {target: rule for target, rule in table.items() if target not in whole}


def _rewrite(program: Program, left: Mapping[str, str], table: Mapping[Any, Any]) -> dict[str, str]:
    """Rewrite the complex operators of a program in place, but those that are left; returns those that cannot be."""
    constants, failed = Constants(program), {}
    rewriting = Rewriting(program, rules(constants), constants, table)
    for node in filter(has_complex, program.op_nodes):
        if node.name in left:
            annotate_node(node, complex=left[node.name])
        else:
            try:
                rewriting.rewrite(node)
            except NotExpandable as error:
                failed[node.name] = str(error)
            except Exception as error:
                # A rule is asked for what it was not made for: that concerns this one node.
                failed[node.name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
            if failed:
                break
    rewriting.finish()
    remove_dead(program.graph)
    return failed


def _note(ctx: Context, count: int, left: Mapping[str, str]) -> None:
    texts = [f"%{name}: {reason}" for name, reason in list(left.items())[:_NAMED]]
    rest = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    stay = f" {len(left)} stay in PyTorch ({'; '.join(texts)}{rest})." if left else ""
    ctx.note(f"complex numbers: {count - len(left)} of {count} op nodes compute with pairs of real tensors.{stay}")
