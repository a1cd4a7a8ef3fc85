"""What a pass changed, computed from the program before and after it, never reported by the pass itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .annotations import annotations_of
from .program import Program
from .text import node_text


@dataclass(frozen=True)
class Snapshot:
    """The text and the annotations of every node, by node name."""

    texts: Mapping[str, str]
    notes: Mapping[str, str]

    @classmethod
    def of(cls, program: Program) -> Snapshot:
        """The snapshot of a program as it is now."""
        nodes = list(program.graph.nodes)
        return cls(
            MappingProxyType({node.name: node_text(node) for node in nodes}),
            MappingProxyType({node.name: json.dumps(annotations_of(node), sort_keys=True) for node in nodes}),
        )


@dataclass(frozen=True)
class Change:
    """Names of nodes that a pass created, erased, rewired (other operator, arguments or type) and annotated."""

    created: tuple[str, ...] = ()
    erased: tuple[str, ...] = ()
    rewired: tuple[str, ...] = ()
    annotated: tuple[str, ...] = ()

    @classmethod
    def between(cls, before: Snapshot, after: Snapshot) -> Change:
        """What turned one snapshot into the other, in graph order."""
        common = [name for name in after.texts if name in before.texts]
        return cls(
            created=tuple(name for name in after.texts if name not in before.texts),
            erased=tuple(name for name in before.texts if name not in after.texts),
            rewired=tuple(name for name in common if after.texts[name] != before.texts[name]),
            annotated=tuple(name for name in common if after.notes[name] != before.notes[name]),
        )

    @property
    def graph_changed(self) -> bool:
        """Whether nodes or edges changed, not only annotations."""
        return bool(self.created or self.erased or self.rewired)

    @property
    def empty(self) -> bool:
        """Whether nothing changed at all."""
        return not (self.graph_changed or self.annotated)

    def counts(self) -> dict[str, int]:
        """Numbers of nodes, as `run.json` holds them."""
        return {
            "created": len(self.created),
            "erased": len(self.erased),
            "rewired": len(self.rewired),
            "annotated": len(self.annotated),
        }

    def __repr__(self) -> str:
        return f"Change({self})"

    def __str__(self) -> str:
        words = [f"{count} {word}" for word, count in self.counts().items() if count]
        return ", ".join(words) or "nothing changed"
