"""One HTML file out of the page's parts: markup, styles, scripts, Graphviz for browsers, and the run as JSON."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contents import Contents

STYLES = (
    "theme.css",
    "layout.css",
    "head.css",
    "panes.css",
    "help.css",
    "graph.css",
    "rows.css",
    "views.css",
    "narrow.css",
    "print.css",
)
SCRIPTS = (
    "dom.js",
    "run.js",
    "lineage.js",
    "partition_edit.js",
    "state.js",
    "theme.js",
    "groups.js",
    "boxes.js",
    "layout.js",
    "nested_layout.js",
    "detail.js",
    "pair.js",
    "drawing.js",
    "hover.js",
    "minimap.js",
    "export.js",
    "overlay.js",
    "categories.js",
    "viewport.js",
    "paint.js",
    "graph_view.js",
    "rows.js",
    "diff.js",
    "query.js",
    "text_view.js",
    "ledger_view.js",
    "why_view.js",
    "segments_view.js",
    "timing_view.js",
    "links.js",
    "quantised_layers.js",
    "details.js",
    "summary.js",
    "passes.js",
    "search.js",
    "keys.js",
    "main.js",
)
DATA_START = '<script type="application/json" id="run-data">'
DATA_END = "</script>"


def index_html(contents: Contents) -> str:
    """A run as one page that needs neither a server nor a network, and whose policy forbids it both."""
    return page_html(contents.to_json())


def page_html(data: Mapping[str, Any]) -> str:
    """The page around the data of a run, as `Contents.to_json` gives it.

    The page runs the scripts that are named by their hash in its policy and no others, whatever the names of nodes
    and files hold.
    """
    script, layout = _script(), _layout_library()
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">\n',
            '<meta name="viewport" content="width=device-width,initial-scale=1">\n',
            '<meta name="color-scheme" content="light dark"><title>trt-passes</title>\n',
            f"<style>\n{_style()}</style></head>\n<body>\n<noscript>This page needs JavaScript; ",
            "graph.txt and graph.svg in the folders beside it show the same without.</noscript>\n",
            DATA_START,
            json_block(data),
            DATA_END,
            f'\n<script type="text/plain" id="layout-library">{layout}</script>\n',
            f"<script>{script}</script>\n</body></html>\n",
        )
    )


def json_block(data: Any) -> str:
    """JSON text that can stand in a `<script>` element: nothing in it can end the element or start a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def data_of(page: str) -> dict[str, Any]:
    """The object that a page holds.

    Raises:
        ValueError: the text is no such page.
    """
    start = page.index(DATA_START) + len(DATA_START)
    data = json.loads(page[start : page.index(DATA_END, start)])
    if not isinstance(data, dict):
        raise ValueError("the page's data is not an object")
    return data


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}' 'wasm-unsafe-eval'; worker-src blob:; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _script() -> str:
    parts = "\n".join(_text("script", name) for name in SCRIPTS)
    return f'\n(() => {{\n"use strict";\n{parts}}})();\n'


def _style() -> str:
    return "".join(_text("style", name) for name in STYLES)


def _layout_library() -> str:
    return _text("vendor", "wasm-graphviz", "index.js").replace("</script", "<\\/script")


@functools.cache
def _text(*path: str) -> str:
    place: Traversable = files(__package__)
    for part in path:
        place = place / part
    return place.read_text(encoding="utf-8")
