"""A partition that is given: a dump's own, edited ones that can be, and those that cannot, with the path or reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.partition_file import PartitionFile
from trt_passes.compiler.pass_base import with_converters
from trt_passes.compiler.tensorrt.registry import Converter

Data = dict[str, Any]


class Model(nn.Module):
    """Two linear parts with a cumprod between them, and a shortcut around it: f32[2,8] -> f32[2,8]."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.tanh(self.first(x))
        b = torch.sigmoid(a)
        middle = torch.cumprod(a, -1)
        return torch.relu(self.second(middle)) + b


OPTIONS = {"min_block_size": 1, "torch_executed_ops": {"aten.cumprod"}}
X = torch.linspace(-1, 1, 16).reshape(2, 8)


def made() -> nn.Module:
    torch.manual_seed(0)
    return Model().eval()


@pytest.fixture
def dumped(tmp_path: Path) -> Path:
    """The partition.json of a dump."""
    tp.compile(made(), [X], dryrun=True, dump_dir=tmp_path / "dump", **OPTIONS)
    (path,) = (tmp_path / "dump").glob("*-partition/partition.json")
    return path


@pytest.fixture
def edited(dumped: Path, tmp_path: Path) -> Callable[[Callable[[Data], object]], Path]:
    """Writes the file with a change."""

    def edit(change: Callable[[Data], object]) -> Path:
        data = json.loads(dumped.read_text())
        change(data)
        path = tmp_path / "edited.json"
        path.write_text(json.dumps(data))
        return path

    return edit


def report_of(path: Path | str, **options: Any) -> tp.Report:
    return tp.compile(made(), [X], dryrun=True, partition=path, **{**OPTIONS, **options}).report


def members(report: tp.Report) -> list[set[str]]:
    return [set(segment.nodes) for segment in report.program.segments]


def test_a_dump_can_be_given_back(dumped: Path, tmp_path: Path) -> None:
    before = tp.compile(made(), [X], dryrun=True, **OPTIONS).report
    for given in (dumped, tmp_path / "dump"):
        after = report_of(given, min_block_size=5)
        assert after.program.segments == before.program.segments
        assert after.verdicts == before.verdicts
    pipeline = f"decompose,lower,annotate,partition{{from={dumped}}}"
    after = tp.compile(made(), [X], pipeline=pipeline, torch_executed_ops={"aten.cumprod"}).report
    assert after.program.segments == before.program.segments
    assert f"partition{{from={dumped}}}" in after.pipeline


def test_a_given_partition_is_compiled_right(edited: Any) -> None:
    pytest.importorskip("tensorrt_rtx")

    def without_tanh(data: Data) -> None:
        for segment in data["segments"]:
            segment["nodes"] = [node for node in segment["nodes"] if node != "tanh"]

    path = edited(without_tanh)
    model = made()
    compiled = tp.compile(model, [X], partition=path, executor="reference", **OPTIONS)
    torch.testing.assert_close(compiled(X), model(X), rtol=1e-4, atol=1e-5)
    row = compiled.report.ledger["tanh"]
    assert (row.verdict, row.reasons[0].code) == (tp.Verdict.EXCLUDED, "TP403")
    assert not any("tanh" in nodes for nodes in members(compiled.report))


def test_a_verdict_keeps_a_node_in_pytorch(edited: Any) -> None:
    report = report_of(edited(lambda data: data["verdicts"].update(sigmoid="excluded")))
    assert report.ledger["sigmoid"].verdict is tp.Verdict.EXCLUDED
    assert report.verdicts["excluded"] == 2


def test_a_verdict_in_the_middle_of_a_segment_cuts_it(tmp_path: Path) -> None:
    """One line of the file is enough; that an engine must not wait for itself is seen to."""
    chain = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)).eval()
    tp.compile(chain, [X], dryrun=True, min_block_size=1, dump_dir=tmp_path / "dump")
    (path,) = (tmp_path / "dump").glob("*-partition/partition.json")
    data = json.loads(path.read_text())
    assert len(data["segments"]) == 1
    data["verdicts"].update(relu="excluded", tanh="excluded")
    path.write_text(json.dumps(data))
    report = tp.compile(chain, [X], dryrun=True, partition=path).report
    assert members(report) == [{"linear"}, {"linear_1"}, {"linear_2"}]
    assert report.verdicts["excluded"] == 2


def test_a_segment_can_be_cut(edited: Any) -> None:
    def cut(data: Data) -> None:
        first, *rest = data["segments"]
        nodes = first["nodes"]
        data["segments"] = [{"name": "a", "nodes": nodes[:1]}, {"name": "b", "nodes": nodes[1:]}, *rest]

    assert len(report_of(edited(cut)).segments) == 3


def test_running_twice_changes_nothing(edited: Any) -> None:
    path = edited(lambda data: data["verdicts"].update(sigmoid="excluded"))
    program = report_of(path).program
    again = tp.PassManager(f"partition{{from={path}}}").run(program)
    assert again.program.segments == program.segments
    assert again.ledger == program.ledger


def test_an_engine_that_would_wait_for_itself_is_refused_with_the_path(edited: Any) -> None:
    def merge(data: Data) -> None:
        nodes = [node for segment in data["segments"] for node in segment["nodes"]]
        data["segments"] = [{"name": "all", "nodes": nodes}]

    with pytest.raises(tp.UserError) as caught:
        report_of(edited(merge))
    assert "%tanh in all → %cumprod in PyTorch → %linear_1 in all" in str(caught.value)


def test_engines_that_would_wait_for_each_other_are_refused(edited: Any) -> None:
    def cross(data: Data) -> None:
        data["segments"] = [{"name": "a", "nodes": ["linear", "sigmoid"]}, {"name": "b", "nodes": ["tanh"]}]

    with pytest.raises(tp.UserError, match="%linear in a → %tanh in b → %sigmoid in a"):
        report_of(edited(cross))


def append(node: str) -> Callable[[Data], object]:
    return lambda data: data["segments"][0]["nodes"].append(node)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (append("cumprod"), "%cumprod cannot be in segment-00, it is excluded .TP401: torch_executed_ops"),
        (append("tanhh"), "%tanhh, which the program has not. Did you mean 'tanh'"),
        (append("tanh"), "tanh is in segment-00 twice: a node can be in one segment"),
        (lambda data: data["segments"][1]["nodes"].append("tanh"), "tanh is in segment-00 and segment-01"),
        (
            lambda data: data["verdicts"].update(tanh="exluded"),
            "the verdict of tanh is 'exluded'. Did you mean 'excluded'",
        ),
        (lambda data: data["verdicts"].update(cumprod="trt"), "%cumprod cannot be in TensorRT, it is excluded .TP401"),
        (lambda data: data["precision"].update(tanh="half"), "the precision of tanh is 'half'"),
        (lambda data: data["precision"].update(cumprod="float16"), "aten.cumprod is not computed in half"),
        (lambda data: data["precision"].update(tanh="float16", linear="bfloat16"), "in bfloat16 and in float16"),
        (lambda data: data.update(derived={}), "'derived' needs to be a list"),
        (lambda data: data["precision"].update(tan="float32"), "%tan, which the program has not"),
        (lambda data: data.update(segments=3), "it needs a list 'segments'"),
        (lambda data: data.update(segments=[{"nodes": 3}]), "needs a 'name' and a list 'nodes'"),
        (lambda data: data.update(schema=99), "has schema 99"),
        (lambda data: data.update(verdicts=[1]), "'verdicts' needs to be an object"),
        (lambda data: data["segments"][1].update(name="segment-00"), "two segments called segment-00"),
    ],
)
def test_what_cannot_be(edited: Any, change: Callable[[Data], object], words: str) -> None:
    with pytest.raises(tp.UserError, match=words):
        report_of(edited(change))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(tp.UserError, match="the partition is an empty text"):
        tp.compile(made(), [X], pipeline="decompose,lower,annotate,partition{from=}")
    with pytest.raises(tp.UserError, match="there is no partition"):
        report_of(tmp_path / "nothing.json")
    with pytest.raises(tp.UserError, match=r"holds no partition\.json"):
        report_of(tmp_path)
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(tp.UserError, match="cannot be read"):
        report_of(tmp_path / "text.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(tp.UserError, match="is no partition"):
        PartitionFile.read(str(tmp_path / "list.json"))


def test_a_node_that_fails_leaves_its_segment(dumped: Path) -> None:
    """What is left of the segment is cut where the failed node is, so that no part waits for itself."""
    pytest.importorskip("tensorrt_rtx")

    def broken(ctx: Any, call: Any) -> Any:
        raise RuntimeError("never")

    options = {"partition": dumped, "torch_executed_ops": {"aten.cumprod"}, "min_block_size": 1}
    wrong = Converter((torch.ops.aten.tanh.default,), broken)
    ctx = with_converters([wrong], tp.Settings.from_options(options))
    report = tp.PassManager("decompose,lower,annotate,partition,convert", ctx=ctx).run(tp.trace(made(), [X]))
    assert report.ledger["tanh"].verdict is tp.Verdict.FAILED
    assert {"linear"} in members(report)
    assert not any({"linear", "sigmoid"} <= nodes for nodes in members(report))


# --- precision -----------------------------------------------------------------------------------------------------
HALF = {"enabled_precisions": {torch.float16}}


def types_of(report: tp.Report) -> dict[str, torch.dtype]:
    values = {node.name: node.meta["val"] for node in report.program.op_nodes}
    return {name: value.dtype for name, value in values.items() if isinstance(value, torch.Tensor)}


def test_precision_of_a_node(tmp_path: Path) -> None:
    first = tp.compile(made(), [X], dryrun=True, dump_dir=tmp_path / "dump", **OPTIONS, **HALF).report
    assert types_of(first)["linear_1"] is torch.float16
    again = report_of(tmp_path / "dump", **HALF)
    assert types_of(again) == types_of(first)
    assert again.program.segments == first.program.segments
    (path,) = (tmp_path / "dump").glob("*-partition/partition.json")
    data = json.loads(path.read_text())
    assert data["precision"]["linear_1"] == "float16"
    data["precision"] = {"linear_1": "float32"}
    data["segments"] = []
    data["verdicts"] = {}
    path.write_text(json.dumps(data))
    types = types_of(report_of(path, **HALF))
    assert types["linear_1"] is torch.float32
    assert types["linear"] is torch.float16


def test_precision_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"segments": [], "precision": {"cumprod": "float16"}}))
    with pytest.raises(tp.UserError, match=r"aten\.cumprod is not computed in half precision"):
        report_of(path, **HALF)
    path.write_text(json.dumps({"segments": [], "precision": {"linear": "bfloat16"}}))
    with pytest.raises(tp.UserError, match="enabled_precisions does not name it"):
        report_of(path, **HALF)


class Split(nn.Module):
    """A norm and two projections of halves of its result, one after a cumprod: f32[2,8] -> f32[2,8]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.left, self.right = nn.LayerNorm(8), nn.Linear(4, 8), nn.Linear(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = torch.split(torch.tanh(self.norm(x)), 4, -1)
        return torch.relu(self.left(a)) + torch.sigmoid(self.right(torch.cumprod(b, -1)))


@pytest.fixture(scope="module")
def half_dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump of a run in float16."""
    folder = tmp_path_factory.mktemp("half") / "dump"
    tp.compile(Split().eval(), [X], dryrun=True, dump_dir=folder, **OPTIONS, **HALF)
    return folder


def split_report(path: Path, **options: Any) -> tp.Report:
    return tp.compile(Split().eval(), [X], dryrun=True, partition=path, **{**OPTIONS, **options}).report


def test_a_dump_in_half_precision_says_all_of_it(half_dump: Path) -> None:
    """It needs no other option: the nodes that it has in float16 are computed in it, and only those."""
    first, again = split_report(half_dump, **HALF), split_report(half_dump)
    assert torch.float16 in types_of(first).values()
    assert types_of(again) == types_of(first)
    assert again.program.segments == first.program.segments


@pytest.mark.parametrize("node", ["linear", "linear_1", "relu", "sigmoid", "add"])
def test_one_line_of_a_dump_changes_the_precision_of_one_node(half_dump: Path, tmp_path: Path, node: str) -> None:
    """Casts that it makes needless are gone from their segments, and those that it needs are where they belong."""
    (path,) = half_dump.glob("*-partition/partition.json")
    data = json.loads(path.read_text())
    was = data["precision"][node]
    data["precision"][node] = "float32" if was == "float16" else "float16"
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(data))
    report = split_report(edited, **HALF)
    types, before = types_of(report), types_of(split_report(half_dump, **HALF))
    casts = {item.name for item in report.program.op_nodes if item.target is torch.ops.aten._to_copy.default}
    assert str(types[node]) == f"torch.{data['precision'][node]}"
    assert {name: types[name] for name in before if name not in casts | {node} and name in types} == {
        name: before[name] for name in before if name not in casts | {node} and name in types
    }
    assert len(report.segments) == len(data["segments"])
    assert {name for name, row in ((row.node, row) for row in report.ledger) if row.verdict is not tp.Verdict.TRT} == {
        "cumprod"
    }


@pytest.mark.parametrize("given", ["setting", "option of the pass"])
def test_a_file_is_enough_to_compute_one_node_in_half(tmp_path: Path, given: str) -> None:
    path = tmp_path / "p.json"
    nodes = ["linear", "tanh", "sigmoid"]
    path.write_text(json.dumps({"segments": [{"name": "a", "nodes": nodes}], "precision": {"linear": "bfloat16"}}))
    if given == "setting":
        report = report_of(path)
    else:
        pipeline = f"decompose,lower,annotate,partition{{from={path}}}"
        report = tp.compile(made(), [X], pipeline=pipeline, **OPTIONS).report
    types = types_of(report)
    assert types["linear"] is torch.bfloat16
    assert {types[name] for name in ("tanh", "sigmoid", "linear_1", "relu", "add")} == {torch.float32}
    (segment,) = report.program.segments
    assert {"linear", "tanh", "sigmoid", "linear_f32"} <= set(segment.nodes)
    assert any(note.startswith("the partition: 1 of ") for note in report.notes)


def test_a_model_that_is_in_half_itself_is_not_made_float32(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"segments": [], "precision": {"linear": "float32"}}))
    with pytest.raises(tp.UserError, match=r"should be float32 and is float16.*computes in float32"):
        tp.compile(made().half(), [X.half()], dryrun=True, partition=path, **OPTIONS)


def test_casts_are_where_no_engine_waits_for_itself(tmp_path: Path) -> None:
    """`shared` is read in half by two engines, of which the second is before the first in the graph."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shared = torch.cumprod(x, -1)
            first = self.a(shared)
            second = torch.cumprod(self.b(shared), -1)
            return first + self.c(second)

    path = tmp_path / "p.json"
    segments = [{"name": "late", "nodes": ["linear", "linear_2", "add"]}, {"name": "early", "nodes": ["linear_1"]}]
    half = dict.fromkeys(("linear", "linear_1", "linear_2"), "float16")
    path.write_text(json.dumps({"segments": segments, "precision": half}))
    model = Two().eval()
    compiled = tp.compile(model, [X], dryrun=True, partition=path, **OPTIONS)
    first, second = compiled.report.program.segments
    assert {"cumprod_f16", "linear_1"} <= set(first.nodes)
    assert {"linear", "linear_2", "add", "cumprod_1_f16"} <= set(second.nodes)


class Attention(nn.Module):
    """Attention whose three projections are one product, which a lowering pass views by heads; f32[b,n,16]."""

    def __init__(self) -> None:
        super().__init__()
        self.projections, self.last = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part[:, None] for part in self.projections(x).chunk(3, -1))
        return x + self.last(nn.functional.scaled_dot_product_attention(q, k, v)[:, 0])


def test_nodes_that_later_passes_make_are_made_again(tmp_path: Path) -> None:
    """What was split when precision was decided is not in the file: later passes put views in its place."""
    sizes = tp.Input(min_shape=(1, 3, 16), opt_shape=(2, 5, 16), max_shape=(4, 8, 16))
    options: dict[str, Any] = {"dryrun": True, "min_block_size": 1}
    model = Attention().eval()
    first = tp.compile(model, [sizes], dump_dir=tmp_path / "dump", **options, **HALF).report
    again = tp.compile(model, [sizes], partition=tmp_path / "dump", **options).report
    assert types_of(again) == types_of(first)
    assert again.program.segments == first.program.segments
