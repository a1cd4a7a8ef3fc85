"""Which weights of a program may change after compiling: those that are inputs of engines, see `mutable_weights`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch.export.graph_signature import InputKind

from ..errors import UserError, did_you_mean
from ..ir.program import Program


def with_mutable(program: Program, patterns: Collection[str]) -> Program:
    """The program with the weights that patterns name as `mutable`.

    Args:
        program: as it was traced, with the names of the model.
        patterns: of the option `mutable_weights`. Tensors of other types than floating point, which say how a model
            computes rather than with what, are only meant where one is named in full.

    Raises:
        UserError: a pattern names no weight that the program reads.
    """
    if not patterns:
        return program
    exported = program.exported
    read = {node.name for node in program.graph.find_nodes(op="placeholder") if node.users}
    weights = {
        str(spec.target): exported.state_dict.get(str(spec.target))
        for spec in exported.graph_signature.input_specs
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and spec.arg.name in read
    }
    floats = [name for name, tensor in weights.items() if _is_float(tensor)]
    chosen: set[str] = set()
    for pattern in sorted(patterns):
        found = {pattern} if pattern in weights else {name for name in floats if fnmatchcase(name, pattern)}
        if not found and pattern != "*":
            raise UserError(
                f"option 'mutable_weights' has {pattern!r}, which names no weight that the program reads."
                + did_you_mean(pattern, weights)
            )
        chosen |= found
    return replace(program, mutable=frozenset(chosen))


def _is_float(tensor: torch.Tensor | None) -> bool:
    return tensor is not None and tensor.dtype.is_floating_point
