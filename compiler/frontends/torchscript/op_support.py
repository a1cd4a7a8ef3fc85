"""Whether TensorRT can be given the operators of a TorchScript method, as far as their names tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ....passes.decompose import is_decomposed
from ...errors import UserError
from ...tensorrt.registry import Registry, default_registry
from ..module_view import is_torchscript, method_of
from .code import Code, Op
from .conversion import Script
from .inlined import copied, inlined
from .interpreter import INSTEAD, RECURRENT, full_name
from .regions import Graph


def check_method_op_support(module: torch.nn.Module, method_name: str = "forward") -> bool:
    """Whether all of a TorchScript method could be in engines: every operator is converted, and nothing stays.

    Only names are looked at, and not sizes and types, which come with the inputs: what `compile` makes of them is in
    its report, which also has reasons and lines.

    Args:
        module: a TorchScript module.
        method_name: the method.

    Raises:
        UserError: it is no TorchScript, or has no such method.
    """
    if not is_torchscript(module):
        raise UserError(f"check_method_op_support takes a TorchScript module, and was given a {type(module).__name__}.")
    script = Script.of(method_of(module, method_name))
    graph = Graph(inlined(copied(script.owner), (), script.name))
    registry = default_registry()
    return all(_is_supported(graph, op, registry) for op in _reached(graph.code))


def _reached(code: Code) -> Iterator[Op]:
    """All ops, but not those of branches that raise."""
    for op in code.ops:
        yield op
        for block in op.blocks:
            if not any(inner.kind == "prim::RaiseException" for inner in block.ops):
                yield from _reached(block)


def _is_supported(graph: Graph, op: Op, registry: Registry) -> bool:
    if graph.is_free(op):
        return True
    if op.kind in _STAY or (op.kind == "prim::Loop" and _is_told_by_tensors(graph, op.blocks[0].outputs[0])):
        return False
    writes = op.is_mutable and op.kind != "prim::SetAttr"
    problem = graph.own_fault(op)
    if problem is not None and not writes and not any(map(graph.is_written, (*op.inputs, *op.outputs))):
        return False
    if op.kind in _READ_OUT and not _is_size(graph, op.inputs[0]):
        return False
    if op.schema is None or not op.kind.startswith("aten::"):
        return True
    name = full_name(op)
    if name in RECURRENT or name in INSTEAD or not torch._C._dispatch_has_kernel(name):
        return True
    return _has_converter(name, registry)


_STAY = frozenset({"prim::fork", "aten::wait", "prim::CallFunction", "prim::CallMethod"})
_READ_OUT = frozenset({"aten::Int", "aten::Float", "aten::item", "aten::IntImplicit", "aten::FloatImplicit"})
"""Operators that give a number of a tensor's, which PyTorch does."""

_FACTORISED = (
    *("svd", "inv", "det", "slogdet", "eig", "qr", "lu", "cholesky", "solve", "lstsq", "pinv", "matrix_exp"),
    *("matrix_rank", "ldl", "householder"),
)
"""How names of operators of linear algebra begin that are made of others which TensorRT has not."""

_NUMBERS = frozenset({"aten::Bool", "aten::Int", "aten::Float", "aten::item"})


def _is_factored(name: str) -> bool:
    short = name.removeprefix("linalg_")
    known = ("inverse", "logdet", "slogdet", "pinverse", "cholesky_solve", "triangular_solve")
    return name in known or (short.startswith(_FACTORISED) and (short != name or name in _FACTORISED))


def _is_size(graph: Graph, name: str) -> bool:
    """Whether a value is a number already, or a tensor that a trace made of sizes."""
    op = graph.makers.get(name)
    if graph.kind(name) != "TensorType" or (op is not None and op.kind in ("prim::NumToTensor", "prim::Constant")):
        return True
    return op is not None and op.kind.startswith("aten::") and all(_is_size(graph, given) for given in op.inputs)


def _is_told_by_tensors(graph: Graph, name: str) -> bool:
    """Whether a number is computed from values of tensors, as the condition of a loop may be."""
    op = graph.makers.get(name)
    if op is None or graph.kind(name) == "TensorType":
        return False
    if op.kind in _NUMBERS and any(graph.kind(given) == "TensorType" for given in op.inputs):
        return True
    inner = [output for block in op.blocks for output in block.outputs]
    return any(_is_told_by_tensors(graph, given) for given in (*op.inputs, *inner))


def _has_converter(name: str, registry: Registry) -> bool:
    """Whether an operator is converted, is made of others, or writes what another one returns."""
    namespace, _, rest = name.partition("::")
    packet_name, _, overload = rest.partition(".")
    for candidate in (packet_name, packet_name.removesuffix("_")):
        packet: Any = getattr(getattr(torch.ops, namespace), candidate, None)
        target = getattr(packet, overload or "default", None)
        if target is None:
            continue
        if registry.get(target) is not None:
            return True
        if not _is_factored(packet_name) and (is_decomposed(target) or target._can_decompose()):
            return True
    return False
