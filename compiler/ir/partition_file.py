"""`partition.json`: which op nodes are in which segment, and in which precision, written by a dump and given back."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError, did_you_mean
from .annotations import is_cast
from .ledger import Verdict
from .program import Program, is_getitem, is_symbolic
from .strict_json import strict_json

SCHEMA = 1
"""Version of the layout; it grows when a field changes its meaning."""

PRECISIONS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class PartitionFile:
    """A partition as a file has it.

    Attributes:
        path: of the file.
        segments: the nodes of each segment, by its name.
        excluded: nodes that it keeps in PyTorch, whatever segment lists them.
        taken: nodes that it says TensorRT can take; those that are in no segment stay in PyTorch all the same.
        precision: of nodes, as the names of PyTorch's types.
        derived: nodes that follow from others: casts between types, and sizes. Where precision changes, some of them
            are no longer there.
    """

    path: str
    segments: Mapping[str, tuple[str, ...]]
    excluded: frozenset[str]
    taken: frozenset[str]
    precision: Mapping[str, str]
    derived: frozenset[str] = frozenset()

    def among(self, known: Collection[str]) -> PartitionFile:
        """The file without the derived nodes that a program no longer has.

        Args:
            known: names of the op nodes of the program.
        """
        gone = self.derived.difference(known)
        kept = {name: tuple(node for node in nodes if node not in gone) for name, nodes in self.segments.items()}
        precision = {node: text for node, text in self.precision.items() if node not in self.derived}
        return replace(self, segments=kept, excluded=self.excluded - gone, taken=self.taken - gone, precision=precision)

    @classmethod
    def read(cls, path: str) -> PartitionFile:
        """A file that a dump wrote and somebody may have changed; or the file of a dump folder.

        Raises:
            UserError: there is no such file, or it is no partition; the message says what is wrong with it.
        """
        if not path:
            raise UserError("the partition is an empty text: give the path of a partition.json, or of a dump.")
        found = _found(Path(path).expanduser())
        try:
            data = strict_json(found.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            said = getattr(error, "strerror", None) or error
            raise UserError(f"the partition {path} cannot be read: {said}.") from error
        return cls._checked(str(path), data)

    @classmethod
    def _checked(cls, path: str, data: Any) -> PartitionFile:
        if not isinstance(data, dict) or not isinstance(data.get("segments"), list):
            raise UserError(f"{path} is no partition: it needs a list 'segments', as partition.json of a dump has.")
        if data.get("schema", SCHEMA) != SCHEMA:
            raise UserError(f"{path} has schema {data['schema']!r}, and this release reads {SCHEMA}: dump it again.")
        segments: dict[str, tuple[str, ...]] = {}
        for index, row in enumerate(data["segments"]):
            name = row.get("name", f"segment {index}") if isinstance(row, dict) else None
            nodes = row.get("nodes") if isinstance(row, dict) else None
            if not isinstance(name, str) or not isinstance(nodes, list) or not _are_texts(nodes):
                raise UserError(f"{path}: segment {index} needs a 'name' and a list 'nodes' of names.")
            if name in segments:
                raise UserError(f"{path} has two segments called {name}: give each a name of its own.")
            segments[name] = tuple(nodes)
        verdicts, precision = _texts(path, data, "verdicts"), _texts(path, data, "precision")
        for node, verdict in verdicts.items():
            if verdict not in set(Verdict):
                raise UserError(
                    f"{path}: the verdict of {node} is {verdict!r}.{did_you_mean(verdict, map(str, Verdict))}"
                )
        for node, text in precision.items():
            if text not in PRECISIONS:
                raise UserError(f"{path}: the precision of {node} is {text!r}.{did_you_mean(text, PRECISIONS)}")
        excluded = frozenset(node for node, verdict in verdicts.items() if verdict == Verdict.EXCLUDED)
        _check_once(path, segments, excluded)
        taken = frozenset(node for node, verdict in verdicts.items() if verdict == Verdict.TRT)
        derived = data.get("derived", [])
        if not isinstance(derived, list) or not _are_texts(derived):
            raise UserError(f"{path}: 'derived' needs to be a list of names of nodes.")
        return cls(path, segments, excluded, taken, precision, frozenset(derived))


def partition_json(program: Program) -> dict[str, Any]:
    """What `partition.json` holds of a partitioned program."""
    return {
        "schema": SCHEMA,
        "segments": [
            {
                "ops": len(segment.nodes),
                "name": segment.name,
                "nodes": list(segment.nodes),
                "inputs": list(segment.inputs),
                "outputs": list(segment.outputs),
                "constants": list(segment.constants),
            }
            for segment in program.segments
        ],
        "verdicts": {row.node: str(row.verdict) for row in program.ledger},
        "precision": dict(precision_of(program)),
        "derived": derived_nodes(program),
    }


def derived_nodes(program: Program) -> list[str]:
    """The op nodes that come and go with what others compute: casts between types, and sizes."""
    return [node.name for node in program.op_nodes if is_cast(node) or is_symbolic(node)]


def precision_of(program: Program) -> Mapping[str, str]:
    """The type of every op node that yields tensors of float32, float16 or bfloat16, by name.

    The type of a cast follows from those of its neighbours, and that of a `getitem` from its producer's.
    """
    found = {}
    for node in program.op_nodes:
        value = node.meta.get("val")
        values = value if isinstance(value, list | tuple) else [value]
        texts = {str(getattr(item, "dtype", "")).removeprefix("torch.") for item in values} & set(PRECISIONS)
        if len(texts) == 1 and not is_cast(node) and not is_getitem(node):
            found[node.name] = texts.pop()
    return found


def partition_text(program: Program) -> str:
    """The file."""
    return f"{json.dumps(partition_json(program), indent=1)}\n"


def _found(path: Path) -> Path:
    if not path.is_dir():
        if not path.exists():
            raise UserError(f"there is no partition {path}: give partition.json of a dump, or the dump folder.")
        return path
    files = sorted(path.glob("*-partition/partition.json"))
    if not files:
        raise UserError(f"{path} holds no partition.json: its run did not get that far, or it is no dump.")
    return files[-1]


def _are_texts(items: list[Any]) -> bool:
    return all(isinstance(item, str) for item in items)


def _texts(path: str, data: Mapping[str, Any], key: str) -> dict[str, str]:
    found = data.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(item, str) for item in found.values()):
        raise UserError(f"{path}: {key!r} needs to be an object of texts by the names of nodes.")
    return found


def _check_once(path: str, segments: Mapping[str, tuple[str, ...]], excluded: frozenset[str]) -> None:
    home: dict[str, str] = {}
    for name, nodes in segments.items():
        for node in nodes:
            if node in home and node not in excluded:
                where = f"{home[node]} and {name}" if home[node] != name else f"{name} twice"
                raise UserError(f"{path}: {node} is in {where}: a node can be in one segment.")
            home[node] = name
