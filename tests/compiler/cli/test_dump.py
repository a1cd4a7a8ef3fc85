"""Dump folders from elsewhere: of a newer release, damaged, or made to mislead."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.cli.dump import diff_passes, diff_runs, explain_dump, explain_modules, explain_node
from trt_passes.compiler.cli.view import export_model_explorer, page_of
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.instruments.dump_files import check_folder
from trt_passes.compiler.report.dump_folder import SCHEMA, DumpFolder

READERS: dict[str, Callable[[str], object]] = {
    "why": explain_dump,
    "node": lambda folder: explain_node(folder, "relu"),
    "modules": explain_modules,
    "passes": lambda folder: diff_passes(folder, "input", "annotate"),
    "runs": lambda folder: diff_runs(folder, folder),
    "runs as JSON": lambda folder: diff_runs(folder, folder, as_json=True),
    "page": page_of,
    "export": export_model_explorer,
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dumps") / "dump"
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()).eval()
    tp.compile(model, [torch.ones(2, 4)], dryrun=True, dump_dir=str(folder))
    return folder


@pytest.fixture
def dump(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "dump")


def test_a_dump_of_a_newer_release_is_not_written_over(dump: Path) -> None:
    (dump / "run.json").write_text(json.dumps({"schema": SCHEMA + 1, "pipeline": ""}))
    with pytest.raises(UserError, match=rf"a newer release \(schema {SCHEMA + 1}, and this one writes {SCHEMA}"):
        check_folder(dump)
    (dump / "run.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="holds files that are not an earlier dump"):
        check_folder(dump)


def test_a_newer_schema_is_one_sentence(dump: Path) -> None:
    run = json.loads((dump / "run.json").read_text())
    (dump / "run.json").write_text(json.dumps({"schema": SCHEMA + 1, "renamed": run}))
    for read in READERS.values():
        with pytest.raises(UserError, match=rf"with schema {SCHEMA + 1}, but this release .* up to {SCHEMA}: upgrade"):
            read(str(dump))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("run.json", text) for text in ('{"schema": "1"}', '{"schema": null}', "[" * 100_000, "\udcff")),
        *(("run.json", f'{{"schema": 1, "{key}": 5}}') for key in ("segments", "settings", "verdicts")),
        *(("ledger.jsonl", text) for text in ("[]", "{}", "5", '{"node": 5}', "[" * 100_000, "\udcff")),
        ("ledger.jsonl", '{"node": "relu", "op": [], "verdict": "trt", "reasons": [{"code": 5, "message": {}}]}'),
        ("ledger.jsonl", '{"node": "relu", "op": "a", "verdict": "none", "reasons": []}'),
        *(("coverage.csv", text) for text in ("a,b", "module,ops,trt,share,error,seconds\n" + "a." * 5000 + ",1,1,,,")),
        *(("coverage.csv", text) for text in ("module,ops,trt,share,error,seconds\na,x,1,,,\n", "\udcff")),
        *(("why.txt", "\udcff"), ("index.html", ""), ("00-input/graph.txt", "\udcff")),
        *(("index.html", f'<script type="application/json" id="run-data">{text}</script>') for text in ("[]", "{}")),
        ("index.html", '<script type="application/json" id="run-data">{"nodes": 5, "graphs": [[0, "x"]]}</script>'),
        ("index.html", f'<script type="application/json" id="run-data">{"[" * 100_000}</script>'),
    ],
)
def test_damage_is_one_sentence_or_nothing(name: str, content: str, dump: Path) -> None:
    (dump / name).write_bytes(content.encode(errors="surrogateescape"))
    said = []
    for read in READERS.values():
        try:
            read(str(dump))
        except UserError as error:
            said.append(str(error))
    assert said
    assert all("\n" not in text and len(text) < 600 for text in said)


def test_names_give_no_commands_to_the_terminal(dump: Path) -> None:
    (dump / "why.txt").write_text("\x1b]0;title\x07 \x1b[2J and\ttext\n")
    assert explain_dump(str(dump)) == "\ufffd]0;title\ufffd \ufffd[2J and\ttext"


def test_the_name_of_a_segment_leads_nowhere_else(dump: Path, tmp_path: Path) -> None:
    (tmp_path / "network.txt").write_text("secret  # [fx:relu]\n")
    for segment in ("../..", str(tmp_path), ".."):
        assert DumpFolder(str(dump)).network_layers(segment, "relu") == ()
