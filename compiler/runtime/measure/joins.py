"""What kernels of engines, and nodes inside of them, are called by the user: kept with a module, and saved with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Layer = Mapping[str, Any]
Place = tuple[str | None, str, str]


@dataclass(frozen=True)
class Joins:
    """What TensorRT listed of each engine, and where every op node comes from.

    Attributes:
        layers: by the name of the segment, each with "name", "nodes" and sometimes "tactic".
        places: line ("file:line"), module and operator of op nodes, by name.
    """

    layers: Mapping[str, Sequence[Layer]] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)

    @classmethod
    def of(cls, report: Any) -> Joins:
        """That of the report of a compilation; empty for another."""
        program, ledger = getattr(report, "program", None), getattr(report, "ledger", ())
        if program is None:
            return cls()
        segments = [item for item in program.segments if item.engine is not None]
        return cls(
            {item.name: item.engine.layers for item in segments},
            {row.node: (row.source, row.module, row.op) for row in ledger},
        )

    def to_json(self) -> dict[str, Any]:
        """The object that `from_json` reads."""
        fields = ("name", "nodes", "tactic")
        layers = {
            name: [{key: layer[key] for key in fields if layer.get(key)} for layer in group]
            for name, group in self.layers.items()
        }
        return {"layers": layers, "places": {name: list(place) for name, place in self.places.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Joins:
        """What `to_json` wrote, empty for None.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        if data is None:
            return cls()
        layers = {
            str(name): [
                {
                    "name": str(layer.get("name", "")),
                    "nodes": [str(node) for node in layer.get("nodes", ())],
                    "tactic": str(layer.get("tactic", "")),
                }
                for layer in group
            ]
            for name, group in dict(data["layers"]).items()
        }
        places: dict[str, Place] = {}
        for name, (source, module, op) in dict(data["places"]).items():
            places[str(name)] = (None if source is None else str(source), str(module), str(op))
        return cls(layers, places)
