"""Pictures and texts of programs: pure functions, a program in, a string or a picture's data out.

from trt_passes.visualize import overview_picture, to_dot, render
svg = render(to_dot(overview_picture(program)))
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
from .why import Blocker, blockers, why_text

__all__ = [
    "STYLES",
    "Blocker",
    "Box",
    "BoxStyle",
    "Edge",
    "Picture",
    "Rendering",
    "blockers",
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
