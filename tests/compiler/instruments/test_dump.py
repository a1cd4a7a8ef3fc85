"""The dump folder: what is in it, whose it is, and what is left after things went wrong."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import trt_passes as tp
from trt_passes import (
    Context,
    Dump,
    Input,
    Pass,
    PassFailure,
    PassManager,
    Program,
    Report,
    Settings,
    UserError,
    graph_pass,
    trace,
)
from trt_passes.compiler.instruments import dump_stage
from trt_passes.compiler.instruments.reproducer import as_saved
from trt_passes.compiler.report.dump_folder import SCHEMA
from trt_passes.visualize import program_text
from trt_passes.visualize.render import layout_command

from ...models import Sorted, seeded

PIPELINE = "decompose,lower.remove-noops,annotate,partition"
WITH_SECONDS = ("run.json", "index.html", "build.log")
needs_graphviz = pytest.mark.skipif(layout_command() is None, reason="neither dot nor pygraphviz is installed")


@pytest.fixture(scope="module")
def program() -> Program:
    return trace(seeded(Sorted()), [Input((2, 8))])


def settings() -> Settings:
    return Settings(min_block_size=2, torch_executed_ops={"aten.sort"})


def run(program: Program, folder: Path, *extra: Pass, pipeline: str = PIPELINE) -> Report:
    from trt_passes.compiler.pipeline import Pipeline

    passes = Pipeline((*Pipeline.parse(pipeline).passes, *extra))
    return PassManager(passes, [Dump(folder)], settings=settings()).run(program)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@needs_graphviz
def test_every_file_is_where_it_should_be(program: Program, tmp_path: Path) -> None:
    report = run(program, tmp_path / "new" / "dump")
    graph = {"graph.txt", "graph.dot", "graph.svg", "program.pt2"}
    expected = {"index.html", "run.json", "why.txt", "ledger.jsonl", "coverage.csv"}
    expected |= {f"00-input/{name}" for name in (*graph, "weights.json")}
    expected |= {f"01-decompose/{name}" for name in (*graph, "change.diff")}
    expected |= {"02-lower.remove-noops/unchanged.txt"}
    expected |= {f"03-annotate/{name}" for name in (*graph, "change.diff")}
    last = {*graph, "change.diff", "overview.dot", "overview.svg", "partition.json"}
    expected |= {f"04-partition/{name}" for name in last}
    expected |= {f"04-partition/{segment.name}/graph.{end}" for segment in report.segments for end in ("dot", "svg")}
    assert files(tmp_path / "new" / "dump") == expected


def test_what_the_files_say(program: Program, tmp_path: Path) -> None:
    report = run(program, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text()) == json.loads(json.dumps(report.to_json()))
    assert (tmp_path / "ledger.jsonl").read_text() == report.ledger.to_jsonl()
    assert (tmp_path / "04-partition/graph.txt").read_text() == program_text(report.program)
    assert "torch_executed_ops" in (tmp_path / "why.txt").read_text()
    assert "the graph is that of 01-decompose" in (tmp_path / "02-lower.remove-noops/unchanged.txt").read_text()
    segments = json.loads((tmp_path / "04-partition/partition.json").read_text())["segments"]
    assert [(row["name"], tuple(row["nodes"])) for row in segments] == [
        (segment.name, segment.nodes) for segment in report.program.segments
    ]


def test_saved_programs_have_the_verdicts_but_not_the_weights(program: Program, tmp_path: Path) -> None:
    report = run(program, tmp_path)
    names = [node.name for node in report.program.op_nodes]
    loaded = as_saved(Program(torch.export.load(tmp_path / "04-partition/program.pt2")), names)
    assert program_text(loaded.with_segments(report.program.segments)) == program_text(report.program)
    # PyTorch saves no metadata of a getitem: it loads with that of the operator whose result it picks.
    own = [row for row in report.ledger if row.op != "getitem"]
    assert [row for row in loaded.ledger if row.op != "getitem"] == own
    assert [(row.node, row.verdict, row.segment) for row in loaded.ledger] == [
        (row.node, row.verdict, row.segment) for row in report.ledger
    ]
    assert all(not tensor.any() for tensor in loaded.exported.state_dict.values())


def test_the_same_model_gives_the_same_bytes(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(program, tmp_path / "one")
    run(trace(seeded(Sorted()), [Input((2, 8))]), tmp_path / "elsewhere" / "two")
    one, two = tmp_path / "one", tmp_path / "elsewhere" / "two"
    assert files(one) == files(two)
    texts = [name for name in files(one) if not name.endswith((".pt2", *WITH_SECONDS))]
    assert len(texts) > 10
    for name in texts:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
        assert str(tmp_path) not in (one / name).read_text(), name


def test_dumping_changes_nothing(program: Program, tmp_path: Path) -> None:
    before, tensors = program_text(program), dict(program.exported.state_dict)
    dumped = run(program, tmp_path)
    plain = PassManager(PIPELINE, settings=settings()).run(program)
    assert program_text(dumped.program) == program_text(plain.program)
    assert program_text(program) == before
    assert all(program.exported.state_dict[name] is tensor for name, tensor in tensors.items())


def test_dumping_changes_neither_networks_nor_engines(program: Program, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    pipeline = f"{PIPELINE},convert,build"
    plain = PassManager(pipeline, settings=settings()).run(program).program.segments
    dumped = run(program, tmp_path, pipeline=pipeline).program.segments
    assert dumped == plain
    for one, two in zip(plain, dumped, strict=True):
        assert one.network.text() == two.network.text()
        assert bytes(one.engine.plan) == bytes(two.engine.plan)


def test_large_programs_are_saved_before_all_passes_and_partitioned(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dump_stage, "MAX_SAVED_NODES", 3)
    run(program, tmp_path)
    saved = {name for name in files(tmp_path) if name.endswith(".pt2")}
    assert saved == {"00-input/program.pt2", "04-partition/program.pt2"}


# --- whose folder it is --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("thesis.tex", "mine"),
        ("run.json", '{"schema": "of another tool"}'),
        ("run.json", "not json"),
        ("run.json", json.dumps({"schema": SCHEMA + 1, "passes": []})),
    ],
)
def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="not an earlier dump"):
        Dump(tmp_path)
    assert files(tmp_path) == {name}
    assert (tmp_path / name).read_text() == text


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="which is a file"):
        Dump(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be made"):
        Dump(tmp_path / "file" / "dump")


def test_a_folder_that_filled_up_before_the_run_is_refused(program: Program, tmp_path: Path) -> None:
    dump = Dump(tmp_path)
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not an earlier dump"):
        PassManager(PIPELINE, [dump], settings=settings()).run(program)
    assert files(tmp_path) == {"thesis.tex"}


def test_an_earlier_dump_is_replaced_and_nothing_else(program: Program, tmp_path: Path) -> None:
    run(program, tmp_path)
    (tmp_path / "notes.md").write_text("mine")
    run(program, tmp_path, pipeline="decompose")
    assert files(tmp_path) >= {"notes.md", "01-decompose/graph.txt", "run.json"}
    assert not (tmp_path / "04-partition").exists()


# --- when things go wrong ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Raising(Pass):
    """Raises what it is told to."""

    name: ClassVar[str] = "raising"
    kind: ClassVar = "analysis"
    what: str = "ValueError"

    def run(self, program: Program, ctx: Context) -> Program:
        """Raise."""
        raise {"ValueError": ValueError, "KeyboardInterrupt": KeyboardInterrupt}[self.what]("no such luck")


def test_ctrl_c_leaves_a_readable_dump(program: Program, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(program, tmp_path, Raising("KeyboardInterrupt"))
    assert "04-partition/graph.txt" in files(tmp_path)
    assert not any(name.startswith(("repro", ".writing")) for name in files(tmp_path))
    assert "KeyboardInterrupt" in json.loads((tmp_path / "run.json").read_text())["failure"]
    assert "KeyboardInterrupt" in (tmp_path / "index.html").read_text()
    assert Dump(tmp_path)


@pytest.mark.parametrize("fails_at", ["00-input", "03-annotate", "why.txt"])
def test_a_full_disk_leaves_whole_folders(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    original = Path.write_text

    def write_text(self: Path, text: str, **options: object) -> int:
        if fails_at in self.as_posix() and self.name != "graph.dot":
            original(self, text[: len(text) // 2], **options)
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, text, **options)

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(UserError, match="No space left on device") as caught:
        run(program, tmp_path)
    assert str(caught.value).count("\n") == 0
    names = files(tmp_path)
    assert not any(fails_at in name or ".writing" in name for name in names)
    assert json.loads((tmp_path / "run.json").read_text())["schema"] == SCHEMA
    whole = {name.split("/")[0] for name in names if "/" in name}
    assert all({f"{folder}/graph.txt", f"{folder}/unchanged.txt"} & names for folder in whole)


def test_a_mistake_of_the_users_needs_no_reproducer(program: Program, tmp_path: Path) -> None:
    @graph_pass("refusing", kind="analysis")
    def refusing(program: Program, ctx: Context) -> Program:
        raise UserError("give something else.")

    with pytest.raises(UserError, match="something else"):
        run(program, tmp_path, refusing)
    assert not (tmp_path / "repro").exists()


def test_a_failure_can_be_reproduced_alone(program: Program, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "my_passes.py").write_text(
        "from trt_passes import graph_pass\n"
        "@graph_pass('my-pass', kind='analysis', requires={'partitioned'})\n"
        "def my_pass(program, ctx):\n"
        "    weights = sum(float(t.detach().abs().sum()) for t in program.exported.state_dict.values())\n"
        "    raise RuntimeError(f'{len(program.segments)} segments, {ctx.settings.min_block_size}, {weights:.3f}')\n"
    )
    sys.path.insert(0, str(home))
    try:
        from my_passes import my_pass
    finally:
        sys.path.remove(str(home))
    with pytest.raises(PassFailure) as caught:
        run(program, tmp_path / "dump", my_pass)
    assert caught.value.reproduce == f"python {tmp_path}/dump/repro/reproduce.py"
    assert caught.value.reproduce in (tmp_path / "dump/index.html").read_text()
    assert caught.value.message in _reproduced(tmp_path / "dump", home)


def _reproduced(dump: Path, home: Path) -> str:
    command = [sys.executable, str(dump / "repro" / "reproduce.py")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(home), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1
    return done.stderr.strip()


def test_weights_above_the_limit_stay_out_of_the_reproducer(program: Program, tmp_path: Path) -> None:
    from trt_passes.compiler.pipeline import Pipeline

    passes = Pipeline((*Pipeline.parse(PIPELINE).passes, Raising()))
    with pytest.raises(PassFailure):
        PassManager(passes, [Dump(tmp_path, max_weight_bytes=10)], settings=settings()).run(program)
    assert "holds zeros instead of the" in (tmp_path / "repro/reproduce.py").read_text()
    loaded = torch.export.load(tmp_path / "repro/program.pt2")
    assert all(not tensor.any() for tensor in loaded.state_dict.values())


# --- passes that fail ----------------------------------------------------------------------------------------------
@graph_pass("lower.half-done")
def half_done(program: Program, ctx: Context) -> Program:
    """Erase one relu's use, then raise."""
    node = next(iter(program.graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default)))
    node.replace_all_uses_with(node.args[0])
    raise ValueError("in the middle")


@graph_pass("lower.wrong")
def wrong(program: Program, ctx: Context) -> Program:
    """Leave a relu out."""
    node = next(iter(program.graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default)))
    node.replace_all_uses_with(node.args[0])
    program.graph.erase_node(node)
    return program


@graph_pass("lower.broken")
def broken(program: Program, ctx: Context) -> Program:
    """Leave a graph that is none: a node that reads what is gone."""
    node = next(iter(program.graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default)))
    node.meta.pop("val", None)
    node.target = "nothing"
    raise ValueError("in the middle")


@pytest.mark.parametrize("item", [half_done, wrong], ids=lambda item: item.name)
def test_the_graph_and_the_diff_of_the_pass_that_failed(item: Any, tmp_path: Path) -> None:
    program = tp.trace(
        torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4)), [torch.randn(2, 4)]
    )
    instruments = [tp.Numerics(), tp.Dump(tmp_path)]
    with pytest.raises(PassFailure):
        tp.PassManager([*tp.Pipeline.parse("decompose"), item], instruments).run(program)
    folder = tmp_path / f"02-{item.name}"
    assert item.name in (folder / "failed.txt").read_text()
    assert "%linear_1 = aten.linear(%linear, " in (folder / "graph.txt").read_text()
    assert any(
        line.startswith(("~ ", "- ", "-")) and "relu" in line
        for line in (folder / "change.diff").read_text().splitlines()
    )
    assert (tmp_path / "index.html").exists()


def test_a_graph_that_cannot_be_shown_is_no_second_failure(tmp_path: Path) -> None:
    program = tp.trace(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()), [torch.randn(2, 4)])
    with pytest.raises(PassFailure, match="in the middle"):
        tp.PassManager([broken], [tp.Dump(tmp_path)]).run(program)
    assert "in the middle" in (tmp_path / "01-lower.broken/failed.txt").read_text()
