"""Everything the page knows of a run, as one JSON-able object."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...compiler.analysis.gains import Gains
from ...compiler.ir.ledger import Verdict
from ...compiler.ir.partition_file import derived_nodes
from ...compiler.ir.reasons import REASON_CODES
from ...compiler.report.report import Report
from ..palette import UNJUDGED, BoxStyle, style_of
from .recording import Recording

SCHEMA = 1
"""Version of the object; the page and the export to Model Explorer read the one they were written for."""

_NETWORK = re.compile(r"(?P<segment>[^/]+)/network\.txt")
_LAYERS = re.compile(r"(?P<segment>[^/]+)/layers\.json")
_LAYER_FIELDS = ("name", "type", "nodes", "tactic")


@dataclass(frozen=True)
class StageFiles:
    """A pass's folder in the dump: its name, that of the pass, and the files in it, relative to the folder."""

    folder: str
    name: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Measure:
    """A number per op node to colour the graph by: its name, its unit, and the values by node name."""

    name: str
    unit: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Contents:
    """What a page shows.

    Attributes:
        report: of the run; its `failure` is shown on top.
        recording: the graphs after every pass.
        stages: the folders of the dump, for links, parallel to the recording's passes.
        folder: where the dump is, to read what became of the segments; None for a page without a dump.
        gains: what fixing each fallback would gain.
        failed: the pass that failed, and the node it failed at ("" if that is not known); None if none did.
        reproduce: the command that reproduces the failure.
        measures: numbers per node that the run found out, such as numerical errors.
        tree_map: an SVG of the modules by their run time, where that was measured.
    """

    report: Report
    recording: Recording
    stages: Sequence[StageFiles] = ()
    folder: Path | None = None
    gains: Gains | None = None
    failed: tuple[str, str] | None = None
    reproduce: str = ""
    measures: Sequence[Measure] = ()
    tree_map: str = ""

    def to_json(self) -> dict[str, Any]:
        """The object that the page holds."""
        return {
            "schema": SCHEMA,
            "run": self.report.to_json(),
            "failed": self.failed,
            "reproduce": self.reproduce,
            "passes": self._passes(),
            **self.recording.to_json(),
            "segments": self._segments(),
            "islands": [island.to_json() for island in self.report.islands],
            "derived": derived_nodes(self.report.program),
            "gains": None if self.gains is None else self.gains.to_json(),
            "measures": [
                _measure_json(measure)
                for measure in (*self.measures, *self._added_by_quantising(), *self._build_seconds())
                if measure.values
            ],
            "tree_map": self.tree_map,
            "codes": self._codes(),
            "styles": _styles(),
        }

    def _passes(self) -> list[dict[str, Any]]:
        files = {stage.folder: list(stage.files) for stage in self.stages}
        seconds = [None, *(record.seconds for record in self.report.passes)]
        changes = [None, *(record.changes.counts() for record in self.report.passes)]
        return [
            {
                "folder": item.folder,
                "name": item.name,
                "about": item.about,
                "graph": item.graph,
                "facts": item.facts,
                "seconds": seconds[index] if index < len(seconds) else None,
                "changes": changes[index] if index < len(changes) else None,
                "files": files.get(item.folder, []),
            }
            for index, item in enumerate(self.recording.passes)
        ]

    def _segments(self) -> list[dict[str, Any]]:
        networks = self._read(_NETWORK, str.splitlines)
        layers = self._read(_LAYERS, _layers)
        nodes = {segment.name: list(segment.nodes) for segment in self.report.program.segments}
        return [
            {
                **record.to_json(),
                "nodes": nodes.get(record.name, []),
                "network": networks.get(record.name, []),
                "layers": layers.get(record.name, []),
            }
            for record in self.report.segments
        ]

    def _read(self, pattern: re.Pattern[str], parse: Callable[[str], Any]) -> dict[str, Any]:
        """What the last pass that wrote such a file wrote, by segment."""
        found = {}
        for stage in self.stages if self.folder is not None else ():
            for name in stage.files:
                match = pattern.fullmatch(name)
                if match is not None:
                    found[match["segment"]] = self.folder / stage.folder / name  # type: ignore[operator]
        return {segment: parse(path.read_text(encoding="utf-8")) for segment, path in found.items()}

    def _build_seconds(self) -> Iterable[Measure]:
        nodes = {segment.name: segment.nodes for segment in self.report.program.segments}
        values = {
            node: record.build_seconds
            for record in self.report.segments
            if record.build_seconds is not None
            for node in nodes.get(record.name, ())
        }
        yield Measure("build time of its engine", "s", values)

    def _added_by_quantising(self) -> Iterable[Measure]:
        """The error that quantising brings into each layer, at the op nodes that are from it."""
        said = self.report.quantisation
        errors = {} if said is None else {layer.name: layer.error for layer in said.quantised}
        values = {}
        for row in self.report.ledger:
            error = next((errors[path] for path in _paths(row.module) if path in errors), None)
            if error is not None:
                values[row.node] = error
        yield Measure("error of quantised layers", "relative L2", values)

    def _codes(self) -> dict[str, dict[str, str]]:
        counts = Counter(reason.code for row in self.report.ledger for reason in row.reasons)
        known = (REASON_CODES[code] for code in sorted(counts) if code in REASON_CODES)
        return {
            row.code: {"title": row.title, "meaning": row.meaning, "remedy": row.remedy, "verdict": str(row.verdict)}
            for row in known
        }


def _layers(text: str) -> list[list[Any]]:
    return [[layer.get(name) for name in _LAYER_FIELDS] for layer in json.loads(text)["layers"]]


def _measure_json(measure: Measure) -> dict[str, Any]:
    values = {name: value if math.isfinite(value) else None for name, value in measure.values.items()}
    return {"name": measure.name, "unit": measure.unit, "values": values}


def _styles() -> dict[str, dict[str, Any]]:
    return {str(verdict): _style(style_of(verdict)) for verdict in Verdict} | {"": _style(UNJUDGED)}


def _style(style: BoxStyle) -> dict[str, Any]:
    line = "double" if style.double else style.line
    return {"fill": style.fill, "border": style.border, "dark": style.dark_fill, "line": line}


def _paths(module: str | None) -> Iterable[str]:
    """A module's path, and those of the modules that it is in, the innermost first."""
    while module:
        yield module
        module = module.rpartition(".")[0]
