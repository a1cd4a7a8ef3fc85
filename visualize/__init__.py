"""Pictures and texts of programs: pure functions in three steps, each usable alone.

A program becomes a `Picture` (boxes, edges and frames as plain data), a picture becomes DOT text, and DOT becomes SVG
where `dot` or pygraphviz is installed (`render` returns None elsewhere):

    from trt_passes.visualize import overview_picture, render, to_dot
    svg = render(to_dot(overview_picture(program)))

Pictures: `overview_picture` (engines and PyTorch islands), `program_picture` (operators, repeated blocks drawn once),
`segment_picture`, `network_picture` (TensorRT layers) and `graph_picture` (any fx graph). `collapsed` makes a picture
small enough to be read. Texts: `program_text`, `graph_text`, `program_diff`, `why_text`.

Names are loaded on first use: what only reads a finished dump does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Not on first use: the function has the name of its module, which would stand in its place.
from .render import Rendering, layout_command, render

if TYPE_CHECKING:
    from .collapse import collapsed, fold_modules, fold_runs, merge_repeats
    from .dot import to_dot
    from .network import network_picture
    from .notebook import mimebundle, summary_text
    from .operators import graph_picture, program_picture, segment_picture, segment_pictures
    from .overview import overview_picture, regions
    from .page import index_html
    from .palette import STYLES, BoxStyle, style_of
    from .picture import Box, Edge, Picture
    from .text import graph_text, program_diff, program_text
    from .why import why_text

_HOMES = {
    "collapsed": "collapse",
    "fold_modules": "collapse",
    "fold_runs": "collapse",
    "merge_repeats": "collapse",
    "to_dot": "dot",
    "network_picture": "network",
    "mimebundle": "notebook",
    "summary_text": "notebook",
    "graph_picture": "operators",
    "program_picture": "operators",
    "segment_picture": "operators",
    "segment_pictures": "operators",
    "overview_picture": "overview",
    "regions": "overview",
    "index_html": "page",
    "STYLES": "palette",
    "BoxStyle": "palette",
    "style_of": "palette",
    "Box": "picture",
    "Edge": "picture",
    "Picture": "picture",
    "graph_text": "text",
    "program_diff": "text",
    "program_text": "text",
    "why_text": "why",
}

__all__ = [
    "STYLES",
    "Box",
    "BoxStyle",
    "Edge",
    "Picture",
    "Rendering",
    "collapsed",
    "fold_modules",
    "fold_runs",
    "graph_picture",
    "graph_text",
    "index_html",
    "layout_command",
    "merge_repeats",
    "mimebundle",
    "network_picture",
    "overview_picture",
    "program_diff",
    "program_picture",
    "program_text",
    "regions",
    "render",
    "segment_picture",
    "segment_pictures",
    "style_of",
    "summary_text",
    "to_dot",
    "why_text",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
