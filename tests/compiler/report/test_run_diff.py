"""Two dumped runs compared, from folders made by hand and by `Dump`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from trt_passes import Ledger, Reason, UserError, Verdict
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.ir.ledger import LedgerRow
from trt_passes.compiler.report.dump_folder import DumpFolder
from trt_passes.compiler.report.run_diff import RunDifference, compare_runs

REASON = Reason("TP101", "no converter is registered for aten.sort.")


def row(
    node: str, op: str = "aten.relu", verdict: Verdict = Verdict.TRT, line: int = 1, module: str = "m"
) -> LedgerRow:
    reasons = () if verdict is Verdict.TRT else (REASON,)
    return LedgerRow(node, op, verdict, reasons, module=module, source=f"model.py:{line}")


def dump(folder: Path, *rows: LedgerRow, segments: int = 1, **settings: object) -> str:
    """A folder with no more than a comparison reads."""
    folder.mkdir()
    ledger = Ledger(rows)
    run = {
        "schema": 1,
        "pipeline": "decompose",
        "versions": {"torch": "2.13.0"},
        "settings": settings,
        "verdicts": ledger.counts,
        "segments": [{"name": f"segment-{i:02d}", "ops": len(rows), "engine_bytes": 1000} for i in range(segments)],
        "boundary": {"crossings": 2 * segments, "bytes": 128 * segments},
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "ledger.jsonl").write_text(ledger.to_jsonl())
    return str(folder)


def compared(tmp_path: Path, before: list[LedgerRow], after: list[LedgerRow]) -> RunDifference:
    return compare_runs(DumpFolder(dump(tmp_path / "a", *before)), DumpFolder(dump(tmp_path / "b", *after)))


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    found = compared(tmp_path, [row("a")], [row("a")])
    assert str(found) == "the two runs have the same settings, verdicts and segments."
    assert found.lost_text == ""


def test_lost_and_gained_nodes(tmp_path: Path) -> None:
    before = [row("a"), row("b", verdict=Verdict.UNSUPPORTED), row("c", verdict=Verdict.DEMOTED), row("d")]
    after = [row("a", verdict=Verdict.UNSUPPORTED), row("b"), row("c", verdict=Verdict.EXCLUDED), row("d")]
    found = compared(tmp_path, before, after)
    assert [item.after.node for item in (*found.lost, *found.gained, *found.changed)] == ["a", "b", "c"]
    assert found.lost_text == (
        "1 op node that was in TensorRT stays in PyTorch now: %a aten.relu at model.py:1: trt → unsupported "
        "(TP101: no converter is registered for aten.sort.)."
    )
    text = str(found)
    assert "demoted: 1 → 0" in text
    assert "lost: 1 op node\n  %a aten.relu" in text


def test_nodes_are_found_again_where_names_and_lines_moved(tmp_path: Path) -> None:
    before = [row("relu", line=3), row("relu_1", line=4), row("tanh", "aten.tanh", line=5, module="head")]
    after = [
        row("relu", "aten.relu", line=30, module="new"),
        row("relu_1", line=3),
        row("relu_2", verdict=Verdict.UNSUPPORTED, line=4),
        row("tanh_1", "aten.tanh", Verdict.UNSUPPORTED, line=9, module="head"),
    ]
    found = compared(tmp_path, before, after)
    # What was %relu_1 is %relu_2 now, since it stands on the same line of the same module; %relu_1 was %relu.
    assert [(item.before.node, item.after.node) for item in found.lost] == [("relu_1", "relu_2"), ("tanh", "tanh_1")]
    assert [item.node for item in found.added] == ["relu"]
    assert "%tanh, now %tanh_1 aten.tanh at model.py:9" in str(found)


def test_a_name_that_another_node_has_now_does_not_pair_them(tmp_path: Path) -> None:
    before = [row("relu", line=3), row("relu_1", verdict=Verdict.UNSUPPORTED, line=4)]
    after = [row("relu", verdict=Verdict.UNSUPPORTED, line=2), row("relu_1", line=3)]
    after.append(row("relu_2", verdict=Verdict.UNSUPPORTED, line=4))
    found = compared(tmp_path, before, after)
    assert (found.lost, found.gained, found.changed, found.removed) == ((), (), (), ())
    assert [item.node for item in found.added] == ["relu"]


def test_lines_that_moved_keep_their_order(tmp_path: Path) -> None:
    before = [row("relu", line=3), row("relu_1", verdict=Verdict.UNSUPPORTED, line=4)]
    after = [row("relu", line=4), row("relu_1", verdict=Verdict.UNSUPPORTED, line=5)]
    found = compared(tmp_path, before, after)
    assert (found.lost, found.gained, found.removed, found.added) == ((), (), (), ())


def test_nodes_that_are_gone_are_not_lost(tmp_path: Path) -> None:
    found = compared(tmp_path, [row("a"), row("b", "aten.dropout")], [row("a")])
    assert (found.lost, [item.node for item in found.removed]) == ((), ["b"])


def test_settings_segments_and_sizes(tmp_path: Path) -> None:
    first = dump(tmp_path / "a", row("a"), min_block_size=5, dryrun=False)
    second = dump(tmp_path / "b", row("a"), segments=2, min_block_size=3, dryrun=False)
    found = compare_runs(DumpFolder(first), DumpFolder(second))
    assert found.facts == {"settings.min_block_size": (5, 3)}
    assert str(found).splitlines() == [
        "settings.min_block_size: 5 → 3",
        "engines: 1 → 2",
        "engine bytes: 1,000 → 2,000",
        "tensors across engine boundaries: 2 → 4",
        "bytes across engine boundaries: 128 → 256",
        "  segment-01: none → 1 op node",
    ]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["diff", *arguments], catch_exceptions=False)


def test_the_command_fails_on_lost_coverage_if_asked(tmp_path: Path) -> None:
    good, bad = dump(tmp_path / "a", row("a")), dump(tmp_path / "b", row("a", verdict=Verdict.REJECTED))
    assert call(good, bad).exit_code == 0
    assert call(bad, good, "--fail-on-lost").exit_code == 0
    result = call(good, bad, "--fail-on-lost", "--json")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "1 op node that was in TensorRT stays in PyTorch now: %a" in result.stderr
    found = json.loads(result.stdout)
    assert found["lost"][0]["reasons"] == [REASON.to_json()]
    assert found["numbers"]["trt"] == [1, 0]


@pytest.mark.parametrize("option", ["--fail-on-lost", "--json"])
def test_options_for_runs_are_refused_for_passes(tmp_path: Path, option: str) -> None:
    result = call(dump(tmp_path / "a", row("a")), "input", "annotate", option)
    assert result.exit_code == 1
    assert "compare two runs" in result.stderr


def test_runs_without_a_ledger_cannot_be_compared(tmp_path: Path) -> None:
    folder = dump(tmp_path / "a", row("a"))
    (tmp_path / "a" / "ledger.jsonl").unlink()
    with pytest.raises(UserError, match=r"has no ledger\.jsonl"):
        compare_runs(DumpFolder(folder), DumpFolder(folder))


def test_many_nodes_are_listed_in_part(tmp_path: Path) -> None:
    before = [row(f"n{i}") for i in range(30)]
    found = compared(tmp_path, before, [replace(item, verdict=Verdict.FAILED) for item in before])
    assert "  and 10 more (--json has all)" in str(found)
    assert found.lost_text.endswith("; and 27 more.")
    assert len(found.to_json()["lost"]) == 30
