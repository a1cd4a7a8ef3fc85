"""Colours and line styles of verdicts: the Okabe-Ito palette, doubled by line style so that grey prints read well too.

Light pictures use a tint of the palette's colour as fill and the colour itself as border. Dark ones are the same
pictures under a style sheet (see `style_sheet`), so that there is one DOT text and one SVG for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..compiler.ir.ledger import Verdict

FONT = "Helvetica,Arial,sans-serif"
INK = "#1f2328"
MUTED = "#57606a"
EDGE = "#6e7781"
SIZE_EDGE = "#afb8c1"
FRAME = "#b4bcc5"
FRAME_FILL = "#f6f8fa"
PAPER = "#ffffff"

_DARK = MappingProxyType(
    {
        INK: "#e6edf3",
        MUTED: "#a5b0bb",
        EDGE: "#8b949e",
        SIZE_EDGE: "#484f58",
        FRAME: "#444c56",
        FRAME_FILL: "#161b22",
        PAPER: "#0d1117",
    }
)


@dataclass(frozen=True)
class BoxStyle:
    """How a box with one verdict is drawn: fill, border and fill in the dark as hex colours; Graphviz line style."""

    fill: str
    border: str
    dark_fill: str
    line: str = "solid"
    double: bool = False


STYLES: Mapping[str, BoxStyle] = MappingProxyType(
    {
        Verdict.TRT: BoxStyle("#c5ecdf", "#009e73", "#0b5240"),
        Verdict.UNSUPPORTED: BoxStyle("#f2b78c", "#d55e00", "#6e3503", "dashed"),
        Verdict.REJECTED: BoxStyle("#f1d3e3", "#cc79a7", "#63334f", "dashed"),
        Verdict.DEMOTED: BoxStyle("#fbe3b2", "#e69f00", "#5f4505", "dotted"),
        Verdict.EXCLUDED: BoxStyle("#d8dbdf", "#767d85", "#3d444d"),
        Verdict.FAILED: BoxStyle("#f9b9b4", "#c1121f", "#6f1219", "solid", True),
    }
)
"""The style of every verdict."""

UNJUDGED = BoxStyle("#f3f4f6", "#8c959f", "#262c34")
"""The style of an operator before it has a verdict."""

BORDER_VALUE = BoxStyle("#ffffff", "#57606a", "#0d1117")
"""The style of a value that enters or leaves the picture."""


def style_of(verdict: str | None) -> BoxStyle:
    """The style of a verdict; None is an operator that has none yet."""
    return UNJUDGED if verdict is None else STYLES[Verdict(verdict)]


def worst(verdicts: Iterable[str]) -> str | None:
    """The verdict that decides the border of a box of several nodes: the least welcome one; None of none."""
    order = (
        Verdict.FAILED,
        Verdict.UNSUPPORTED,
        Verdict.REJECTED,
        Verdict.EXCLUDED,
        Verdict.DEMOTED,
        Verdict.TRT,
    )
    present = set(verdicts)
    return next((str(verdict) for verdict in order if verdict in present), None)


def style_sheet() -> str:
    """CSS for an SVG of ours: quieter second lines, a highlight on hover, and dark colours where the reader has them.

    Colours are replaced by the attribute that Graphviz wrote, so a picture needs no other preparation.
    """
    pairs = dict(_DARK)
    pairs.update({style.fill: style.dark_fill for style in (*STYLES.values(), UNJUDGED)})
    rules = "".join(
        f'svg.trt-passes [fill="{light}"]{{fill:{dark}}}svg.trt-passes [stroke="{light}"]{{stroke:{dark}}}'
        for light, dark in pairs.items()
    )
    return (
        f"svg.trt-passes .node text~text{{font-size:9.5px;fill:{MUTED}}}"
        "svg.trt-passes a:hover{text-decoration:none}"
        "svg.trt-passes .node:hover path,svg.trt-passes .node:hover polygon{stroke-width:2.5}"
        f"@media screen and (prefers-color-scheme:dark){{{rules}"
        f"svg.trt-passes .node text~text{{fill:{_DARK[MUTED]}}}}}"
    )
