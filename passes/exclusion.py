"""Nodes that the user keeps in PyTorch: by operator (`torch_executed_ops`) or by module (`torch_executed_modules`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from ..compiler.errors import UserError, did_you_mean
from ..compiler.ledger import Reason
from ..compiler.pass_base import Context
from ..compiler.program import Program
from ..compiler.text import op_name


@dataclass(frozen=True)
class Exclusion:
    """The operators and modules that stay in PyTorch."""

    ops: frozenset[str]
    modules: frozenset[str]

    @classmethod
    def of(cls, program: Program, ctx: Context) -> Exclusion:
        """The exclusions of a run; unknown operators are errors, names that match nothing here are noted."""
        settings = ctx.settings
        for name in sorted(settings.torch_executed_ops):
            check_operator(name)
        exclusion = cls(settings.torch_executed_ops, settings.torch_executed_modules)
        nodes = program.op_nodes
        present = {name for node in nodes for name in exclusion._matching_ops(node)}
        for name in sorted(exclusion.ops - present):
            ctx.note(f"torch_executed_ops names {name}, which this program does not call.")
        inside = {name for node in nodes for name in exclusion._matching_modules(node)}
        known = {text for node in nodes for entry in _modules(node) for text in entry}
        for name in sorted(exclusion.modules - inside):
            close = did_you_mean(name, sorted(known))
            ctx.note(f"torch_executed_modules names {name}, which matches no module of this program.{close}")
        return exclusion

    def reasons(self, node: Node) -> list[Reason]:
        """Why the user keeps a node in PyTorch; empty if not."""
        ops = [Reason("TP401", f"torch_executed_ops contains {name}.") for name in sorted(self._matching_ops(node))]
        modules = sorted(self._matching_modules(node))
        return ops + [Reason("TP402", f"torch_executed_modules contains {name}.") for name in modules]

    def _matching_ops(self, node: Node) -> set[str]:
        names = set(_names(node)) if self.ops else set()
        return {name for name in self.ops if name in names}

    def _matching_modules(self, node: Node) -> set[str]:
        if not self.modules:
            return set()
        words = {text for entry in _modules(node) for text in entry}
        return {name for name in self.modules if name in words}


def _names(node: Node) -> Iterator[str]:
    """The names of a node's operator and of those it was decomposed from, with and without overload."""
    texts = [op_name(node.target)]
    sources = list(node.meta.get("from_node") or [])
    while sources:
        source = sources.pop()
        texts.append(str(source.target).removeprefix("torch.ops.").removesuffix(".default"))
        sources.extend(source.from_node or [])
    for text in texts:
        parts = text.split(".")
        yield text
        yield f"{text}.default"
        yield ".".join(parts[:2])


def _modules(node: Node) -> Iterator[tuple[str, str, str]]:
    """Path, full class name and class name of every module that a node was called in."""
    for path, kind in (node.meta.get("nn_module_stack") or {}).values():
        full = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        if path:
            yield path, full, full.rsplit(".", 1)[-1]


def check_operator(name: str) -> None:
    """Raise UserError, with the closest match, unless `torch_executed_ops` may name this operator."""
    namespace, _, rest = name.partition(".")
    operator, _, overload = rest.partition(".")
    packet: Any = None
    if namespace and operator and hasattr(torch.ops, namespace):
        packet = getattr(getattr(torch.ops, namespace), operator, None)
    if packet is None:
        known = sorted({schema.name.replace("::", ".") for schema in torch._C._jit_get_all_schemas()})
        raise UserError(f"torch_executed_ops names {name!r}, which is not an operator.{did_you_mean(name, known)}")
    if overload and overload not in packet.overloads():
        raise UserError(
            f"torch_executed_ops names {name!r}, but {namespace}.{operator} has no overload {overload!r}."
            + did_you_mean(overload, packet.overloads())
        )
