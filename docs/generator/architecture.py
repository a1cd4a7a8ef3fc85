"""The picture of docs/architecture.md: the rooms, and who imports whom, read from the sources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
from trt_passes.visualize import Box, Edge, Picture

from tests.test_rooms import imports

from .pictures import dot_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    """A box: its label, and the modules in it (with all that is below them), named as in `tests/test_rooms.py`."""

    lines: tuple[str, ...]
    modules: tuple[str, ...]


PLACES: Mapping[str, Place] = {
    "doors": Place(
        ("cli/ · api · generation/ · compat/", "trt-passes, tp.compile, generate, torch_tensorrt"),
        ("cli", "api", "generation", "compat"),
    ),
    "debug": Place(("debug/", "which operator is wrong, and a script that shows it"), ("debug",)),
    "tuning": Place(("tuning/", "measures variants on a GPU"), ("tuning",)),
    "torch_compile": Place(
        ("frontends/torch_compile", "a way in that compiles when it is called"),
        ("frontends.torch_compile", "frontends.compiled_graph"),
    ),
    "manager": Place(("manager", "runs the passes, calls the instruments"), ("manager",)),
    "instruments": Place(("instruments/", "watch every pass: dump, verify, timing, …"), ("instruments",)),
    "frontends": Place(("frontends/", "the ways in"), ("frontends",)),
    "visualize": Place(("visualize/", "graph in, text out: pictures, pages"), ("visualize",)),
    "report": Place(("report/", "the run as data; dumps read"), ("report",)),
    "analysis": Place(("analysis/", "what a partition costs"), ("analysis",)),
    "pipeline": Place(("pipeline", "passes by name, in an order that works"), ("pipeline", "undo")),
    "passes": Place(("passes/", "decompose → lower → annotate → partition", "→ convert → build → splice"), ("passes",)),
    "runtime": Place(("runtime/", "engines, and the module that calls them"), ("runtime",)),
    "pass_base": Place(("pass_base", "what a pass is"), ("pass_base",)),
    "tensorrt": Place(("tensorrt/", "TensorRT behind one door, converters' registry"), ("tensorrt",)),
    "asked": Place(("settings · inputs", "what the user asks for"), ("settings", "compat.options", "inputs")),
    "ir": Place(("ir/", "what flows: programs, ledgers, reasons"), ("ir",)),
    "errors": Place(("errors", "said to the user"), ("errors", "version", "held_logs")),
}
"""The boxes, from the top down. A module is in the box that names it, or what it lies in, by the longest name."""

FLOW = (("frontends", "passes", "Program"), ("passes", "runtime", "CompiledModule"))
"""What is handed over, in the order of a compilation."""

_BOLD = 1 << 20
"""Bytes from which an arrow is drawn bold."""

_UPWARDS = "ir.notebook"
"""Display in notebooks imports what draws, when it is asked to: the one arrow up, which is not drawn."""


def place_of(module: str) -> str:
    """The box that a module is in.

    Raises:
        LookupError: no box names it, nor what it lies in.
    """
    owners = {name: key for key, place in PLACES.items() for name in place.modules}
    found = module
    while found not in owners and "." in found:
        found = found.rpartition(".")[0]
    if found not in owners:
        raise LookupError(f"no box of docs/generator/architecture.py holds {module!r}: add it to one.")
    return owners[found]


def known() -> nx.DiGraph[str]:
    """Who imports whom, box by box, with the number of imports, as the sources are."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for source, target, _ in imports(ROOT):
        pair = place_of(source), place_of(target)
        if source != _UPWARDS and pair[0] != pair[1]:
            counts[pair] += 1
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(PLACES)
    graph.add_edges_from((*pair, {"count": count}) for pair, count in counts.items())
    return graph


def architecture_picture() -> Picture:
    """The boxes, what is handed over (bold), and the imports that do not follow from others."""
    graph = known()
    shown = nx.transitive_reduction(graph).edges
    on_the_way = {name for source, target, _ in FLOW for name in (source, target)}
    boxes = tuple(
        Box(key, place.lines, "module", touched=key in on_the_way, tooltip="\n".join(place.modules))
        for key, place in PLACES.items()
    )
    order = list(PLACES)
    arrows = sorted(shown, key=lambda pair: (order.index(pair[0]), order.index(pair[1])))
    handed = {(source, target) for source, target, _ in FLOW}
    return Picture(
        "Who may know whom",
        boxes,
        (
            *(Edge(source, target, label, nbytes=_BOLD) for source, target, label in FLOW),
            *(Edge(*pair) for pair in arrows if pair not in handed),
        ),
        remarks=("Bold: the way of a model. Thin arrows: imports; those that follow from others are left out.",),
    )


def architecture_dots() -> dict[str, str]:
    """DOT texts by file name in images/."""
    return {"architecture": dot_of(architecture_picture())}
