"""why.txt, the notebook's bundle, and the page."""

from __future__ import annotations

from html.parser import HTMLParser

from trt_passes.compiler.change import Change
from trt_passes.compiler.ledger import Verdict
from trt_passes.compiler.program import Program
from trt_passes.compiler.report import PassRecord, Report, SegmentRecord
from trt_passes.visualize import blockers, index_html, mimebundle, why_text
from trt_passes.visualize.page import StageFiles

from ..conftest import Golden
from .programs import chain, judged, portable, stack


def test_why(golden: Golden) -> None:
    golden.check("visualize/chain-why.txt", portable(why_text(chain())))


def test_why_without_fallbacks_and_before_annotate() -> None:
    assert "Everything went to TensorRT." in why_text(judged(stack(1), {}))
    assert "before annotate" in why_text(stack(1))


def test_fallbacks_of_one_line_are_one_group_and_demoted_lines_come_last() -> None:
    stays = {"relu": Verdict.UNSUPPORTED, "relu_1": Verdict.UNSUPPORTED, "linear_4": Verdict.DEMOTED}
    found = blockers(judged(stack(2), stays))
    assert [[row.node for row in blocker.rows] for blocker in found] == [["relu", "relu_1"], ["linear_4"]]
    assert found[0].modules == ("layers.0", "layers.1")
    assert found[0].line == "return x + self.down(torch.relu(self.up(x)))"
    text = why_text(judged(stack(2), stays))
    assert "unsupported aten.relu ×2: %relu, %relu_1" in text


def test_notebook_shows_text_always() -> None:
    bundle = mimebundle(chain(), "chain")
    assert bundle["text/plain"].startswith("chain: ")
    assert "segment-01" in bundle["text/plain"]
    assert bundle.get("image/svg+xml", "<svg").startswith("<svg")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _report(program: Program, failure: str | None = None) -> Report:
    record = PassRecord("annotate", "annotate", 0.25, Change(annotated=("sort",)))
    same = PassRecord("lower.remove-noops", "lower", 0.01, Change())
    segments = (SegmentRecord("segment-00", 2, ("x: f32[2,8]",), ("relu: f32[2,8]",), 2048, 1.5),)
    return Report(
        program, "annotate", {}, {"torch": "2"}, (record, same), program.ledger, segments, ("<note>",), failure=failure
    )


def test_page_is_well_formed_self_contained_and_links_to_the_files() -> None:
    stages = [StageFiles("00-input", "input", ("graph.txt",)), StageFiles("01-annotate", "annotate", ("graph.svg",))]
    page = index_html(_report(chain()), stages, "<svg></svg>", "why <it> stayed")
    parser = _Links()
    parser.feed(page)
    assert parser.open == []
    assert {"00-input/graph.txt", "01-annotate/graph.svg", "why.txt", "ledger.jsonl", "run.json"} <= set(parser.links)
    assert not [link for link in parser.links if link.startswith(("http", "//", "/"))]
    assert "&lt;note&gt;" in page
    assert "why &lt;it&gt; stayed" in page


def test_page_shows_a_failure_and_how_to_repeat_it() -> None:
    page = index_html(_report(stack(1), "PassFailure: broken"), reproduce="python d/repro/reproduce.py")
    assert "PassFailure: broken" in page
    assert "python d/repro/reproduce.py" in page
