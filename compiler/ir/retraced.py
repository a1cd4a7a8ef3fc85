"""Programs traced anew by PyTorch's decompositions, also those with an input that is called `input`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Graph

from .least_values import lower_least_values
from .program import Program, copy_graph, rebuild
from .returned_inputs import with_views_of_returned_inputs
from .single_views import with_single_views

HIDING_NAMES = frozenset({"torch", "fx_pytree"})
"""Names that the code of every graph refers to, which no argument may have."""

_NOTHING: Mapping[Any, Callable[..., Any]] = MappingProxyType({})


def retraced(exported: ExportedProgram, table: Mapping[Any, Callable[..., Any]] = _NOTHING) -> ExportedProgram:
    """The program after `run_decompositions`; with no table, only operators that work in place are replaced."""
    if Program(exported).mutates:
        exported = with_plain_names(with_single_views(with_views_of_returned_inputs(exported)))
    found = with_plain_names(exported.run_decompositions(dict(table)))
    lower_least_values(found, found.range_constraints)
    return found


def with_plain_names(exported: ExportedProgram) -> ExportedProgram:
    """The program with other names for inputs that have one of Python's, where it writes to tensors.

    Copies of a graph have other names for those anyway, and PyTorch looks for what is written to by its name. The
    arguments of a call keep theirs.
    """
    program = Program(exported)
    called = {name: Graph().placeholder(name).name for name in program.nodes_by_name}
    inputs = [node.name for node in program.user_inputs if called[node.name] != node.name]
    if not inputs or not program.mutates:
        return exported
    renamed = rebuild(exported, copy_graph(exported.graph))
    nodes, taken = Program(renamed).nodes_by_name, set(called)
    names = {name: _free(called[name], taken) for name in inputs}
    for name, new in names.items():
        nodes[name].name = nodes[name].target = new
    signature = renamed.graph_signature

    def argument(arg: Any) -> Any:
        return replace(arg, name=names[arg.name]) if getattr(arg, "name", None) in names else arg

    signature.input_specs[:] = [
        replace(spec, arg=argument(spec.arg)) if spec.kind is InputKind.USER_INPUT else spec
        for spec in signature.input_specs
    ]
    signature.output_specs[:] = [
        replace(
            spec,
            arg=argument(spec.arg),
            target=names.get(str(spec.target), spec.target)
            if spec.kind is OutputKind.USER_INPUT_MUTATION
            else spec.target,
        )
        for spec in signature.output_specs
    ]
    return renamed


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
