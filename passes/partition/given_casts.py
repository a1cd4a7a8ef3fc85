"""Which segment the casts are in that a given partition does not place: that of what they read, or of a reader."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch.fx import Node

from ...compiler.ir.annotations import is_cast
from ...compiler.ir.dependencies import producer_of
from ...compiler.ir.program import Program

Groups = Mapping[str, tuple[str, ...]]


def beside_sources(program: Program, groups: Groups, able: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The groups, with every cast that none of them has in that of the node whose result it changes.

    Nothing new comes between a node and what only it feeds, so no path leads out of a group and back for that.

    Args:
        program: with the casts that `mark_cast` marked.
        groups: nodes of each segment.
        able: names of the nodes that TensorRT can take and that nobody keeps in PyTorch.
    """
    home = _home(groups)
    for node in _casts(program, home, able):
        for source in node.all_input_nodes:
            place = home.get(producer_of(source).name)
            if place is not None:
                home[node.name] = place
    return _with(groups, home)


def beside_readers(
    program: Program, groups: Groups, able: Collection[str], places: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    """The groups, with every cast that none of them has in that of its first reader, unless that is in PyTorch.

    Args:
        program, groups, able: as above.
        places: where each group comes when they run, by name, and each other node, by "%" and its name.
    """
    home = _home(groups)
    for node in reversed(_casts(program, home, able)):
        readers = [_place_of(user, home) for user in node.users]
        first = min((name for name in readers if name in places), key=lambda name: places[name], default="")
        if first is not None and first in groups:
            home[node.name] = first
    return _with(groups, home)


def _place_of(user: Node, home: Mapping[str, str]) -> str:
    name = producer_of(user).name
    return home.get(name, f"%{name}")


def _home(groups: Groups) -> dict[str, str]:
    return {node: name for name, nodes in groups.items() for node in nodes}


def _casts(program: Program, home: Mapping[str, str], able: Collection[str]) -> list[Node]:
    return [node for node in program.op_nodes if is_cast(node) and node.name in able and node.name not in home]


def _with(groups: Groups, home: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {name: list(nodes) for name, nodes in groups.items()}
    known = _home(groups)
    for node, name in home.items():
        if node not in known:
            found[name].append(node)
    return {name: tuple(nodes) for name, nodes in found.items()}
