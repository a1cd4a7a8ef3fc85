"""Nodes that the user keeps in PyTorch: by operator (`torch_executed_ops`) or by module (`torch_executed_modules`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Node

from ...compiler.errors import UserError, did_you_mean
from ...compiler.ir.called_from import full_class_name, modules_around, operator_names
from ...compiler.ir.ledger import Reason
from ...compiler.ir.program import Program
from ...compiler.pass_base import Context


@dataclass(frozen=True)
class Exclusion:
    """The operators and modules that stay in PyTorch."""

    ops: frozenset[str]
    modules: frozenset[str]

    @classmethod
    def of(cls, program: Program, ctx: Context) -> Exclusion:
        """The exclusions of a run; unknown operators are errors, names that match nothing here are noted.

        Unknown modules are errors of `check_modules`, since the graph of a run may hold only some of a model's modules.
        """
        settings = ctx.settings
        for name in sorted(settings.torch_executed_ops):
            check_operator(name)
        exclusion = cls(settings.torch_executed_ops, settings.torch_executed_modules)
        nodes = program.op_nodes
        present = {name for node in nodes for name in exclusion._matching_ops(node)}
        for name in sorted(exclusion.ops - present):
            ctx.note(f"torch_executed_ops names {name}, which this program does not call.")
        inside = {name for node in nodes for name in exclusion._matching_modules(node)}
        known = _called_modules(program)
        for name in sorted(exclusion.modules - inside):
            close = did_you_mean(name, sorted(known)) if known else ""
            ctx.note(f"torch_executed_modules names {name}, which matches no module of this program.{close}")
        return exclusion

    def reasons(self, node: Node) -> list[Reason]:
        """Why the user keeps a node in PyTorch; empty if not."""
        ops = [Reason("TP401", f"torch_executed_ops contains {name}.") for name in sorted(self._matching_ops(node))]
        modules = sorted(self._matching_modules(node))
        return ops + [Reason("TP402", f"torch_executed_modules contains {name}.") for name in modules]

    def _matching_ops(self, node: Node) -> set[str]:
        names = set(operator_names(node)) if self.ops else set()
        return {name for name in self.ops if name in names}

    def _matching_modules(self, node: Node) -> set[str]:
        if not self.modules:
            return set()
        words = {text for entry in modules_around(node) for text in entry}
        return {name for name in self.modules if name in words or full_class_name(name) in words}


def _called_modules(program: Program) -> set[str]:
    return {text for node in program.op_nodes for entry in modules_around(node) for text in entry}


def _modules_of(model: Any) -> Iterator[str]:
    """What the modules of a model, or of a method's, can be named by; nothing if it is no nn.Module."""
    owner = getattr(model, "__self__", model)
    for path, module in owner.named_modules() if isinstance(owner, nn.Module) else ():
        kind = type(module)
        yield from (path, kind.__name__, f"{kind.__module__}.{kind.__qualname__}")


def check_modules(names: Iterable[str], program: Program, model: Any) -> None:
    """Raise UserError, with the closest match, for a name that is none of a module of the model or a class of torch.nn.

    Args:
        names: the setting `torch_executed_modules`.
        program: the whole model, before any pass.
        model: what the program was traced from: its modules that compute nothing are not in the program.
    """
    known = {*_called_modules(program), *_modules_of(model)} - {""}
    for name in sorted(name for name in names if not {name, full_class_name(name)} & known):
        if not hasattr(nn, name.rpartition(".")[-1]):
            hint = did_you_mean(name, sorted(known)) if known else ""
            raise UserError(f"torch_executed_modules names {name!r}, which matches no module of the model.{hint}")


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
