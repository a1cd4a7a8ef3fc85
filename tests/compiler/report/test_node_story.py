"""Dump folders read back: text lines, the difference of graphs, and the story of single nodes."""

from __future__ import annotations

from pathlib import Path

import pytest
import trt_passes as tp
from trt_passes.compiler.ir.graph_diff import graph_diff
from trt_passes.compiler.ir.graph_lines import NodeLine, parse_graph, replacements
from trt_passes.compiler.report.dump_folder import DumpFolder
from trt_passes.compiler.report.node_story import node_story
from trt_passes.visualize import program_text

from tests.models import ConvNet, seeded


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[DumpFolder, tp.Report]:
    """A dump of a small network whose head is left to PyTorch."""
    folder = tmp_path_factory.mktemp("story") / "dump"
    program = tp.trace(seeded(ConvNet()), [tp.Input((2, 3, 16, 16))])
    settings = tp.Settings(min_block_size=1, torch_executed_modules={"head"})
    instruments = [tp.Dump(folder)]
    report = tp.PassManager("decompose,lower,annotate,partition", instruments, settings=settings).run(program)
    return DumpFolder(str(folder)), report


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "%a = aten.add.Tensor(%x, %x, 2) : f32[2]  # segment-00 | m.0 | f.py:3",
            NodeLine("a", "aten.add.Tensor", "%a = aten.add.Tensor(%x, %x, 2) : f32[2]", "segment-00", "m.0", "f.py:3",
                     ("x", "x")),
        ),
        (
            "%a = aten.sort(%x) : (f32[2], i64[2])  # rejected TP201 TP203",
            NodeLine("a", "aten.sort", "%a = aten.sort(%x) : (f32[2], i64[2])", "rejected TP201 TP203", "", "", ("x",)),
        ),
        (
            "%w = parameter : f32[2]  # trt.weight",
            NodeLine("w", "parameter", "%w = parameter : f32[2]", "", "trt.weight", "", ()),
        ),
        ("return [%a, %b]", NodeLine("return", "return", "return [%a, %b]", "", "", "", ("a", "b"))),
    ],
)  # fmt: skip
def test_lines_are_read_back(line: str, expected: NodeLine) -> None:
    assert NodeLine.parse(line) == expected


def test_every_line_of_a_program_is_read_back(run: tuple[DumpFolder, tp.Report]) -> None:
    program = run[1].program
    lines = parse_graph(program_text(program))
    assert list(lines) == [node.name if node.op != "output" else "return" for node in program.graph.nodes]
    assert [line.name for line in lines.values() if line.is_op] == [node.name for node in program.op_nodes]
    for row in run[1].ledger:
        line = lines[row.node]
        assert (line.op, line.module, line.source or None) == (row.op, row.module, row.source)
        assert line.verdict.split()[0] == (row.segment or str(row.verdict))
        assert list(line.reads) == [source.name for source in program.node(row.node).all_input_nodes]


GRAPH = """# header
%x = input : f32[2]
%a = aten.conv2d(%x) : f32[2]  # m | f.py:1
%b = aten.batch_norm(%a) : (f32[2])  # m | f.py:2
%c = getitem(%b, 0) : f32[2]  # m | f.py:2
%d = aten.relu(%c) : f32[2]  # f.py:3
%e = aten.dropout(%d) : f32[2]  # f.py:4
%f = aten.ge(%e) : bool  # f.py:5
return [%e]
"""
REWRITTEN = """%x = input : f32[2]
%g = aten.convolution(%x) : f32[2]  # m | f.py:1
%d = aten.relu(%g) : f32[2]  # f.py:3
return [%d]
"""


def test_what_takes_the_place_of_erased_nodes() -> None:
    assert replacements(parse_graph(GRAPH), parse_graph(REWRITTEN)) == {
        "a": ("g",),
        "b": ("g",),
        "c": ("g",),
        "e": ("d",),
        "f": (),
    }


def test_a_difference_begins_with_counts() -> None:
    lines = graph_diff(GRAPH, REWRITTEN).splitlines()
    assert lines[0] == "# 1 created, 5 erased, 2 rewired"
    assert lines[1].startswith("# operators: aten.batch_norm -1, aten.conv2d -1, aten.convolution +1, ")
    assert "-%a = aten.conv2d(%x) : f32[2]  # m | f.py:1" in lines
    assert graph_diff(GRAPH, GRAPH) == ""


def test_a_difference_of_verdicts_alone_has_no_other_part() -> None:
    judged = GRAPH.replace("# m |", "# trt | m |").replace("# f.py", "# rejected TP201 | f.py")
    assert graph_diff(GRAPH, judged).splitlines() == [
        "# annotations: 6 op nodes",
        "~ %a to %c (3 nodes): none → trt",
        "~ %d to %f (3 nodes): none → rejected TP201",
    ]


def test_the_story_of_a_node_from_a_folder_alone(run: tuple[DumpFolder, tp.Report]) -> None:
    text = node_story(run[0], "%convolution")
    assert text.startswith("%convolution = aten.convolution: trt in segment-00\n  line:    ")
    for words in (
        "module:  features.0",
        "01-decompose",
        "created in place of %conv2d",
        "rewired: reads %c_p_features_0_weight, %c_p_features_0_weight_bias instead of",
        "no verdict → trt",
        "trt → segment-00",
    ):
        assert words in text
    text = node_story(run[0], "linear")
    assert "What to do about TP402: Remove the module from torch_executed_modules." in text


def test_the_story_of_erased_nodes_says_what_became_of_them(run: tuple[DumpFolder, tp.Report]) -> None:
    text = node_story(run[0], "batch_norm")
    assert text.startswith("%batch_norm = aten.batch_norm: erased, see below")
    assert "erased: %_native_batch_norm_legit_no_training took its place" in text
    assert text.endswith("What it became\n  %convolution = aten.convolution: trt in segment-00")
    assert "parameter: not an op node" in node_story(run[0], "p_features_0_weight")


def test_unknown_nodes_get_close_matches(run: tuple[DumpFolder, tp.Report]) -> None:
    with pytest.raises(tp.UserError, match=r"no op node 'convolutoin'\. Did you mean 'convolution'"):
        node_story(run[0], "convolutoin")


def test_stages_are_found_by_any_of_their_names(run: tuple[DumpFolder, tp.Report]) -> None:
    dump = run[0]
    assert dump.graph_after("input") == dump.graph_after("0") == dump.graph_after("00-input")
    assert dump.graph_after("lower") == dump.graph_after("lower.fold-constants")
    assert dump.graph_after("partition") == program_text(run[1].program)
    with pytest.raises(tp.UserError, match="Did you mean 'partition'"):
        dump.graph_after("partitoin")


def test_coverage_is_read_back(run: tuple[DumpFolder, tp.Report]) -> None:
    assert run[0].coverage == run[1].modules


def test_a_dump_of_an_older_release_says_what_is_missing(run: tuple[DumpFolder, tp.Report], tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text((run[0].path / "run.json").read_text())
    dump = DumpFolder(str(tmp_path))
    for read in (lambda: dump.coverage, lambda: dump.ledger, lambda: dump.why):
        with pytest.raises(tp.UserError, match="did not get that far"):
            read()
