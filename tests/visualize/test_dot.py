"""DOT: verdicts, frames, attributes; and SVG, where something renders it."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from trt_passes.compiler.ir.ledger import Verdict
from trt_passes.visualize import STYLES, Picture, program_picture, render, to_dot
from trt_passes.visualize.picture import Box, Edge
from trt_passes.visualize.render import layout_command

from ..conftest import Golden
from .programs import judged, portable, stack

VERDICTS = {
    "linear": Verdict.UNSUPPORTED,
    "relu": Verdict.REJECTED,
    "linear_1": Verdict.DEMOTED,
    "add": Verdict.EXCLUDED,
    "linear_2": Verdict.FAILED,
}
needs_graphviz = pytest.mark.skipif(layout_command() is None, reason="neither dot nor pygraphviz is installed")


def test_every_verdict_in_one_picture(golden: Golden) -> None:
    picture = program_picture(judged(stack(2), VERDICTS), {"relu_1"}, "every verdict")
    golden.check("visualize/verdicts.dot", portable(to_dot(picture)))


def test_repeated_blocks(golden: Golden) -> None:
    golden.check("visualize/stack.dot", portable(to_dot(program_picture(stack(12)))))


def test_never_what_graphviz_does_badly() -> None:
    dot = to_dot(program_picture(stack(3)))
    assert "ortho" not in dot
    assert "record" not in dot


def test_verdicts_differ_without_colour() -> None:
    looks = {(style.line, style.double, style.fill) for style in STYLES.values()}
    assert len(looks) == len(Verdict)
    greys = sorted(_grey(style.fill) for style in STYLES.values())
    assert greys[-1] < 240, "every fill differs from paper when printed in grey"


def _grey(colour: str) -> float:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


@needs_graphviz
def test_svg_is_well_formed_and_has_what_a_page_needs() -> None:
    svg = render(to_dot(program_picture(judged(stack(2), VERDICTS), {"relu_1"})))
    assert svg is not None
    root = ElementTree.fromstring(svg)
    assert root.get("class") == "trt-passes"
    groups = {group.get("id"): group for group in root.iter("{http://www.w3.org/2000/svg}g")}
    assert set(groups["box-relu_1"].get("class", "").split()) >= {"node", "operator", "verdict-trt", "touched"}
    links = [a.get("{http://www.w3.org/1999/xlink}href") for a in groups["box-relu_1"].iter() if a.tag.endswith("}a")]
    assert links == ["#node=relu_1"]
    assert "prefers-color-scheme:dark" in svg


@needs_graphviz
def test_text_that_looks_like_markup_is_shown_as_it_is() -> None:
    hostile = '<b> & "quoted" \\N \\l {a|b}'
    picture = Picture(
        hostile, (Box("a:b", (hostile, "two"), tooltip=hostile), Box("c", ("c",))), (Edge("a:b", "c", hostile),)
    )
    svg = render(to_dot(picture))
    assert svg is not None
    texts = ["".join(item.itertext()) for item in ElementTree.fromstring(svg).iter() if item.tag.endswith("}text")]
    assert sum(text.strip() == hostile for text in texts) == 3


@needs_graphviz
def test_the_largest_picture_is_quick() -> None:
    started = time.perf_counter()
    boxes = tuple(Box(f"n{i}", (f"n{i}", "f32[2,16,768]"), verdicts={"trt": 1}) for i in range(400))
    edges = tuple(Edge(f"n{i}", f"n{j}") for i in range(400) for j in (i + 1, i + 9) if j < 400)
    assert render(to_dot(Picture("large", boxes, edges)), timeout=60) is not None
    assert time.perf_counter() - started < 30


def test_without_graphviz_there_is_no_svg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys.modules["trt_passes.visualize.render"], "find_spec", lambda name: None)
    assert render("digraph { a }") is None


@pytest.mark.skipif(sys.platform == "win32", reason="makes a shell script")
def test_dot_on_path_is_preferred_and_stopped_when_it_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dot = tmp_path / "dot"
    dot.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    dot.chmod(dot.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    assert layout_command() == [str(dot), "-Tsvg"]
    started = time.perf_counter()
    assert render("digraph { a }", timeout=0.3) is None
    assert time.perf_counter() - started < 10


@needs_graphviz
def test_text_that_is_no_dot_gives_no_svg() -> None:
    assert render("this is not DOT {") is None
