"""What programs, reports, compiled modules and segments show in a notebook, and print elsewhere."""

from __future__ import annotations

import copy
import sys
from types import SimpleNamespace

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.report.report import Report
from trt_passes.compiler.report.table import Table
from trt_passes.visualize import mimebundle
from trt_passes.visualize.notebook import ports_picture, view_of
from trt_passes.visualize.render import layout_command

from .programs import Chain, chain


@pytest.fixture(scope="module")
def report() -> Report:
    settings = tp.Settings(min_block_size=1, torch_executed_ops={"aten.sort"})
    program = tp.trace(Chain().eval(), [torch.ones(2, 8)])
    return tp.PassManager("decompose,lower,annotate,partition", settings=settings).run(program)


def has_picture(bundle: dict[str, str]) -> bool:
    """Whether a bundle has an SVG, or need not have one because nothing renders it here."""
    return bundle.get("image/svg+xml", "" if layout_command() else "<svg").startswith("<svg")


def test_programs_reports_and_segments_show_themselves(report: Report) -> None:
    for item in (report.program, report):
        bundle = item._repr_mimebundle_()
        assert has_picture(bundle)
        assert "segment-01" in bundle["text/plain"]
    bundle = report.program.segments[0]._repr_mimebundle_()
    assert has_picture(bundle)
    assert bundle["text/plain"].splitlines()[0] == "segment-00: 2 op nodes"


def test_text_is_there_without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["trt_passes.visualize.render"], "layout_command", lambda: None)
    bundle = mimebundle(chain(), "chain")
    assert set(bundle) == {"text/plain"}
    assert bundle["text/plain"].startswith("chain: 9 op nodes")


@pytest.mark.parametrize("what", ["overview", "graph", "table", "why", "boundary", "modules", "segment-01"])
def test_show_prints_outside_a_notebook(report: Report, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    report.show(what)
    assert capsys.readouterr().out.rstrip() == str(view_of(report, what)).rstrip()


def test_show_displays_in_a_notebook(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=shown.append))
    report.show("segment-00")
    assert has_picture(shown[0]._repr_mimebundle_())


def test_show_refuses_what_is_not_there(report: Report) -> None:
    with pytest.raises(tp.UserError, match="Did you mean 'overview'"):
        report.show("overveiw")


def test_the_table_has_a_row_per_engine_and_verdict(report: Report) -> None:
    table = report.table()
    assert [row[:3] for row in table.rows] == [
        ("segment-00", "trt", "2"),
        ("segment-01", "trt", "4"),
        ("PyTorch", "excluded", "3"),
    ]
    assert [row[4:6] for row in table.rows] == [("64 B", "64 B"), ("256 B", "32 B"), ("", "")]
    lines = str(table).splitlines()
    assert lines[0].split() == ["where", "verdict", "op", "nodes", "share", "bytes", "in", "bytes", "out", "engine"]
    assert "dotted" not in table.to_html()
    assert "#d8dbdf" in table.to_html(), "the colour of excluded"


def test_tables_escape_what_they_hold() -> None:
    assert '<td style="text-align:left">&lt;b&gt;</td>' in Table(("a",), (("<b>",),)).to_html()


def test_an_engine_is_drawn_with_its_ports() -> None:
    picture = ports_picture("title", "segment-00", ["x", "y"], ["x"])
    assert [(edge.source, edge.target) for edge in picture.edges] == [
        ("in:x", "segment-00"),
        ("in:y", "segment-00"),
        ("segment-00", "out:x"),
    ]


def test_compiled_modules_and_their_segments_show_themselves() -> None:
    pytest.importorskip("tensorrt_rtx")
    from trt_passes.compiler.runtime.engine_graph import segments_of

    compiled = tp.compile(Chain().eval(), [torch.ones(2, 8)], min_block_size=1, torch_executed_ops={"aten.sort"})
    for bundle in (compiled._repr_mimebundle_(), copy.copy(compiled)._repr_mimebundle_()):
        assert has_picture(bundle)
        assert "segment-01: 4 op nodes" in bundle["text/plain"]
    del compiled._repr_mimebundle_
    assert compiled._repr_mimebundle_()["text/plain"].startswith("compiled module: ")
    for segment in segments_of(compiled).values():
        assert has_picture(segment._repr_mimebundle_())
        assert "CompiledSegment(segment-0" in segment._repr_mimebundle_()["text/plain"]
    assert "layers" in compiled.report.program.segments[0]._repr_mimebundle_().get("image/svg+xml", "layers")


def test_the_ledger_becomes_a_frame(report: Report) -> None:
    pandas = pytest.importorskip("pandas")
    frame = report.to_pandas()
    assert list(frame["node"]) == [row.node for row in report.ledger]
    assert frame.loc[frame["verdict"] == "excluded", "codes"].iloc[0] == ("TP401",)
    assert isinstance(report.ledger.to_pandas(), pandas.DataFrame)
    assert len(tp.Ledger(()).to_pandas().columns) == 9


def test_without_pandas_there_is_a_clear_error(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(tp.UserError, match="pip install pandas"):
        report.to_pandas()
