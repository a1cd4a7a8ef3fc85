"""Pictures in the docs: DOT text from real runs, rendered to SVG files, with a record of what was rendered.

Graphviz versions place boxes differently, so a test compares the DOT texts (by the record), never the SVG files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from trt_passes.visualize import Picture, render, to_dot

FOLDER = Path(__file__).parent.parent / "images"
RECORD = FOLDER / "pictures.json"

# Engines differ in size between versions of TensorRT, and links and tooltips are of use in a dump's page only.
_ENGINE_SIZE = re.compile(r"\\nengine [\d.,]+ \w+")
_LINKS = re.compile(r'<a xlink:href="[^"]*"( xlink:title="[^"]*")?( target="_top")?>|<a xlink:title="[^"]*">|</a>')


def dot_of(picture: Picture, title: str | None = None) -> str:
    """The DOT text of a picture, with another title."""
    text = to_dot(picture if title is None else replace(picture, title=title))
    return _ENGINE_SIZE.sub("", text)


def digest(dot: str) -> str:
    """What the record holds of a DOT text."""
    return hashlib.sha256(dot.encode()).hexdigest()[:16]


def recorded() -> dict[str, str]:
    """The digests of the DOT texts that the committed SVG files were rendered from, by file name."""
    known: dict[str, str] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    return known


def write_pictures(dots: Mapping[str, str]) -> None:
    """Render what changed since the last time, and remove pictures that no page has any more.

    Raises:
        SystemExit: nothing that renders DOT is installed.
    """
    known = recorded()
    FOLDER.mkdir(exist_ok=True)
    for name, dot in dots.items():
        path = FOLDER / f"{name}.svg"
        if known.get(name) == digest(dot) and path.exists():
            continue
        svg = render(dot, timeout=60)
        if svg is None:
            raise SystemExit("the pictures need Graphviz: install `dot`, or pip install pygraphviz.")
        path.parent.mkdir(exist_ok=True)
        path.write_text(_LINKS.sub("", svg), encoding="utf-8")
    for path in FOLDER.rglob("*.svg"):
        if path.relative_to(FOLDER).with_suffix("").as_posix() not in dots:
            path.unlink()
    record = {name: digest(dots[name]) for name in sorted(dots)}
    RECORD.write_text(f"{json.dumps(record, indent=1)}\n", encoding="utf-8")
