"""Pictures and texts of programs: pure functions in three steps, each usable alone.

A program becomes a `Picture` (boxes, edges and frames as plain data), a picture becomes DOT text, and DOT becomes SVG
where `dot` or pygraphviz is installed (`render` returns None elsewhere):

    from trt_passes.visualize import overview_picture, render, to_dot
    svg = render(to_dot(overview_picture(program)))

Pictures: `overview_picture` (engines and PyTorch islands), `program_picture` (operators, repeated blocks drawn once),
`segment_picture`, `network_picture` (TensorRT layers) and `graph_picture` (any fx graph). `collapsed` makes a picture
small enough to be read. Texts: `program_text`, `graph_text`, `program_diff`, `why_text`.
"""

from .collapse import collapsed, fold_modules, fold_runs, merge_repeats
from .dot import to_dot
from .network import network_picture
from .notebook import mimebundle, summary_text
from .operators import graph_picture, program_picture, segment_picture, segment_pictures
from .overview import overview_picture, regions
from .page import index_html
from .palette import STYLES, BoxStyle, style_of
from .picture import Box, Edge, Picture
from .render import Rendering, layout_command, render
from .text import graph_text, program_diff, program_text
from .why import why_text

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
