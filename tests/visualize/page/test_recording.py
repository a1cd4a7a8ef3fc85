"""What the page holds: every graph whole, every node once, and nothing that could end the page's own elements."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from trt_passes.compiler.ir.annotations import reasons_of, verdict_of
from trt_passes.compiler.ir.text import node_text, op_name, type_text
from trt_passes.visualize.page import Recording, data_of, page_html
from trt_passes.visualize.page.assembly import DATA_END, DATA_START, SCRIPTS, STYLES, json_block

from ..programs import chain, export, judged, stack
from .programs import chain_data

ODD = "</script><!-- \u2028 \u2029 <b> \\u003c &lt; 'x' \"y\""


def _recorded(*programs: Any) -> dict[str, Any]:
    recording = Recording()
    for index, program in enumerate(programs):
        recording.add(f"{index:02d}-pass", f"pass-{index}", "", program)
    passes = [{"graph": item.graph, "facts": item.facts} for item in recording.passes]
    return {**recording.to_json(), "passes": passes}


def _expanded(runs: list[int], step: int) -> list[int]:
    return [
        first + step * place for first, length in zip(runs[::2], runs[1::2], strict=True) for place in range(length)
    ]


def test_the_recording_holds_every_node_as_the_program_has_it() -> None:
    program = chain()
    data = _recorded(program)
    strings, columns = data["strings"], data["node_columns"]
    rows = [data["nodes"][index] for index in _expanded(data["graphs"][0], 1)]
    facts = [data["facts"][index] for index in _expanded(data["fact_lists"][0], 0)]
    nodes = list(program.graph.nodes)
    assert len(rows) == len(facts) == len(nodes)
    for node, row, fact in zip(nodes, rows, facts, strict=True):
        known = dict(zip(columns, row, strict=True))
        assert strings[known["name"]] == node.name
        assert [strings[name] for name in known["inputs"]] == [item.name for item in node.all_input_nodes]
        if node.op == "call_function":
            text = f"%{node.name} = {strings[known['op']]}({strings[known['arguments']]}) : {strings[known['type']]}"
            assert text == node_text(node)
            verdict, reasons, _, _ = fact
            assert strings[verdict] == verdict_of(node)
            codes = [(strings[code], strings[message]) for code, message in reasons]
            assert codes == [(reason.code, reason.message) for reason in reasons_of(node)]
            assert op_name(node.target) == strings[known["op"]]
            assert type_text(node.meta["val"]) == strings[known["type"]]
        else:
            assert fact == ()


def test_what_does_not_change_is_written_once() -> None:
    program = stack(3)
    once = _recorded(program)
    again = _recorded(program, program.copy(), judged(program.copy(), {}))
    assert again["nodes"] == once["nodes"]
    assert len(again["graphs"]) == 1
    assert [item["graph"] for item in again["passes"]] == [0, 0, 0]
    assert [item["facts"] for item in again["passes"]] == [0, 0, 1]


def test_a_pass_that_changed_nothing_shares_its_graph() -> None:
    recording = Recording()
    recording.add("00-input", "input", "", stack(1))
    recording.repeat("01-same", "same", "Do nothing.")
    assert recording.passes[1].graph == recording.passes[0].graph
    assert recording.passes[1].about == "Do nothing."


def test_the_facts_alone_are_recorded_as_the_whole_program_is() -> None:
    plain, program = stack(2), judged(stack(2), {})
    whole, facts = Recording(), Recording()
    for recording in (whole, facts):
        recording.add("00-input", "input", "", plain)
    whole.add("01-annotate", "annotate", "Judge.", program)
    facts.add_facts("01-annotate", "annotate", "Judge.", program)
    assert facts.to_json() == whole.to_json()
    assert facts.passes == whole.passes
    assert facts.passes[1].facts != facts.passes[0].facts


def test_sizes_and_constants_have_kinds_of_their_own() -> None:
    class Sized(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4))
            self.register_buffer("shift", torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first, _ = torch.sort(x * self.weight + self.shift)
            return first

    data = _recorded(export(Sized(), torch.zeros(2, 4)))
    kinds = {data["strings"][row[0]]: data["strings"][row[1]] for row in data["nodes"]}
    assert {"parameter", "buffer", "input", "operator", "item", "output"} == set(kinds.values())
    assert kinds["sort"] == "operator"
    assert kinds["getitem"] == "item"


def test_no_text_ends_the_data() -> None:
    block = json_block({ODD: [ODD]})
    assert "<" not in block
    assert "\u2028" not in block
    assert "\u2029" not in block
    assert json.loads(block) == {ODD: [ODD]}
    page = page_html(chain_data(3, names=(ODD,), op=ODD, source=ODD))
    assert data_of(page)["strings"] == chain_data(3, names=(ODD,), op=ODD, source=ODD)["strings"]


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_page_is_self_contained_and_forbids_what_it_does_not_bring() -> None:
    page = page_html(chain_data(3, op=ODD))
    parser = _Elements()
    parser.feed(page)
    assert parser.tags.count("script") == 3
    names = {name for name, _ in parser.attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not names & {"src", "href"}
    policy = next(value for name, value in parser.attributes if name == "content" and "default-src" in str(value))
    assert "default-src 'none'" in str(policy)
    assert not re.search(r"script-src[^;]*'unsafe-(inline|eval)'", str(policy))


def test_a_small_page_is_mostly_the_layout_library() -> None:
    page = page_html(chain_data(100))
    library = page[page.index('id="layout-library"') :].index("</script>")
    data = page[page.index(DATA_START) :].index(DATA_END)
    assert len(page.encode()) < 1_050_000
    assert library > 0.7 * len(page)
    assert data < 20_000


def test_all_parts_of_the_page_are_used() -> None:
    folder = Path(page_html.__code__.co_filename).parent
    assert {path.name for path in (folder / "script").iterdir()} == set(SCRIPTS)
    assert {path.name for path in (folder / "style").iterdir()} == set(STYLES)
    assert "Apache License" in (folder / "vendor" / "wasm-graphviz" / "LICENSE").read_text(encoding="utf-8")
