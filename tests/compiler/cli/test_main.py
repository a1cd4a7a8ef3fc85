"""The command line: what each command prints, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result
from trt_passes import Ledger, Settings
from trt_passes.compiler.cli.catalog_file import shipped
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.cli.tables import fallbacks
from trt_passes.compiler.ir.ledger import LedgerRow, Reason, Verdict
from trt_passes.compiler.pipeline import known_passes

MODELS = str(Path(__file__).with_name("cli_models.py"))
SETTINGS = ["--set", "min_block_size=3", "--set", "torch_executed_ops=aten.sort"]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a whole run, with `dump` and `compiled.pt2` in it, and what the run printed."""
    pytest.importorskip("tensorrt_rtx")
    folder = tmp_path_factory.mktemp("run")
    result = call(
        "run", f"{MODELS}:blocks", "--input", "1..2..4x8", "--dump-dir", str(folder / "dump"),
        "-o", str(folder / "compiled.pt2"), "--check-numerics", *SETTINGS,
    )  # fmt: skip
    return folder, result


def test_run_ends_with_tables_and_names_the_folder(built: tuple[Path, Result]) -> None:
    folder, result = built
    assert result.exit_code == 0, result.output
    assert "engine boundaries per call" in result.stdout
    for words in ("segment-00", "segment-01", "aten.sort", "TP401", "cli_models.py:", "splice", "excluded"):
        assert words in result.stdout
    assert result.stdout.rstrip().splitlines()[-1].startswith(f"wrote {folder / 'dump'}")
    assert " KiB" in result.stdout
    assert " kB" not in result.stdout, "one table has one kind of units"
    first = result.stdout.splitlines()[0]
    assert all(word in first for word in ("export", "passes", "dump")), first
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_the_saved_model_computes_what_the_model_does(built: tuple[Path, Result]) -> None:
    import trt_passes
    from cli_models import blocks

    model, _ = blocks()
    loaded = trt_passes.load(built[0] / "compiled.pt2")
    for batch in (1, 4):
        x = torch.randn(batch, 8)
        assert torch.allclose(loaded(x), model(x), atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@torch.no_grad()
def test_the_compiled_model_as_torchscript(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    from cli_models import blocks

    model, x = blocks()
    result = call("run", f"{MODELS}:blocks", "-o", str(tmp_path / "m.ts"), "--executor", "pytorch", *SETTINGS)
    assert result.stdout.endswith(f"wrote {tmp_path / 'm.ts'}\n")
    torch.testing.assert_close(torch.jit.load(tmp_path / "m.ts")(x), model(x), rtol=1e-4, atol=1e-5)


def test_json_is_the_report_alone(tmp_path: Path) -> None:
    result = call(
        "run", f"{MODELS}:blocks", "--until", "partition", "--json", "--dump-dir", str(tmp_path / "d"), *SETTINGS
    )
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert printed == json.loads((tmp_path / "d" / "run.json").read_text())
    seconds = printed["seconds"]
    assert seconds["export"] > 0
    assert seconds["dump"] > 0
    assert seconds["total"] == pytest.approx(sum(value for name, value in seconds.items() if name != "total"))
    assert printed["settings"]["min_block_size"] == 3
    assert [segment["name"] for segment in printed["segments"]] == ["segment-00", "segment-01"]
    assert [item["stage"] for item in printed["passes"]][-1] == "partition"


def test_pipeline_and_until_choose_the_passes(tmp_path: Path) -> None:
    result = call("run", f"{MODELS}:blocks", "-p", "decompose,annotate,partition{min-block-size=2}", "--json")
    assert [item["name"] for item in json.loads(result.stdout)["passes"]] == ["decompose", "annotate", "partition"]
    result = call("run", f"{MODELS}:blocks", "--set", "dryrun=true", "--json")
    assert json.loads(result.stdout)["passes"][-1]["name"] == "partition"
    assert list(tmp_path.iterdir()) == []


def test_modules_with_fallbacks_are_listed() -> None:
    excluded = ["--set", "torch_executed_modules=second.1", "--set", "min_block_size=1"]
    lines = call("run", f"{MODELS}:blocks", "--until", "partition", *excluded).stdout.splitlines()
    table = lines[lines.index("modules that are not all in TensorRT") :]
    assert ["second.1", "1", "0", "%"] in [line.split() for line in table]


def test_unknown_modules_are_refused() -> None:
    result = call("run", f"{MODELS}:blocks", "--until", "partition", "--set", "torch_executed_modules=secnd.1")
    assert result.exit_code != 0
    assert "'secnd.1', which matches no module of the model. Did you mean 'second.1'" in result.output


def test_input_replaces_the_example() -> None:
    specs = ["--input", "1..8x4", "--input", "1..8x4"]
    result = call("run", f"{MODELS}:pair", *specs, "--until", "partition", "--json", "--set", "min_block_size=1")
    assert result.exit_code == 0, result.output
    inputs = json.loads(result.stdout)["segments"][0]["inputs"]
    assert len(inputs) == 2
    assert all("f32[s" in text for text in inputs)


def test_exported_programs_and_torchscript_are_models(tmp_path: Path) -> None:
    model, x = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()).eval(), torch.ones(2, 4)
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "model.pt2")
    torch.jit.trace(model, x).save(tmp_path / "model.pt")
    for arguments in ((str(tmp_path / "model.pt2"),), (str(tmp_path / "model.pt"), "--input", "1..8x4")):
        result = call("run", *arguments, "--until", "partition", "--json", "--set", "min_block_size=1")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["verdicts"]["trt"] >= 2


def test_explain_a_dump_and_its_nodes(built: tuple[Path, Result]) -> None:
    dump = str(built[0] / "dump")
    assert "aten.sort" in call("explain", dump).stdout
    ledger = Ledger.from_jsonl((built[0] / "dump" / "ledger.jsonl").read_text().splitlines())
    for row in ledger:
        text = call("explain", dump, f"%{row.node}").stdout
        assert text.startswith(f"%{row.node} = {row.op}: {row.verdict}")
        assert all(reason.code in text and reason.message in text for reason in row.reasons)
    assert call("explain", dump, "--modules").stdout.startswith("(model)  ")
    assert "error " in call("explain", dump, "--modules").stdout, "the run checked numerics"
    assert call("explain", dump, "sort", "--modules").exit_code == 1
    assert call("explain", "TP203", "sort").exit_code == 1
    result = call("explain", dump, "sart")
    assert result.exit_code == 1
    assert "has no op node 'sart'. Did you mean 'sort'" in result.stderr


def test_diff_shows_what_passes_did(built: tuple[Path, Result]) -> None:
    dump = str(built[0] / "dump")
    assert "are the same" in call("diff", dump, "input", "0").stdout
    text = call("diff", dump, "lower", "partition").stdout
    assert any(line.startswith("~ %linear") and line.endswith("→ segment-00") for line in text.splitlines())
    result = call("diff", dump, "input", "partitoin")
    assert result.exit_code == 1
    assert "Did you mean 'partition'" in result.stderr


def test_view_opens_the_page(built: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(click, "launch", opened.append)
    result = call("view", str(built[0] / "dump"))
    assert result.exit_code == 0
    assert opened == result.stdout.split()
    assert Path(opened[0]).exists()


@pytest.mark.parametrize("command", ["explain", "diff", "view"])
def test_folders_that_are_no_dumps(command: str, tmp_path: Path) -> None:
    rest = ["a", "b"] if command == "diff" else []
    result = call(command, str(tmp_path), *rest)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is not a dump folder" in result.stderr
    (tmp_path / "run.json").write_text("{")
    assert "cannot be read as JSON" in call(command, str(tmp_path), *rest).stderr


def test_passes_lists_all() -> None:
    text = call("passes").stdout
    for name, item in known_passes().items():
        assert f"{name} ({item.kind})" in text
    assert "max-segment-nodes=2000 (int)" in text


def test_ops_lists_operators_and_their_conditions() -> None:
    text = call("ops").stdout
    assert "aten.linear" in text
    assert "aten.linear" in call("ops", "linear").stdout
    assert "aten.add.Tensor" in call("ops", "aten::add").stdout
    result = call("ops", "aten.linaer")
    assert result.exit_code == 1
    assert "Did you mean" in result.stderr


def test_explain_a_code_in_any_case() -> None:
    assert call("explain", "tp203").stdout == call("explain", "TP203").stdout
    assert "dynamic dimension (verdict: rejected)" in call("explain", "TP203").stdout


def test_help_lists_every_setting_and_command() -> None:
    text = call("run", "--help").stdout
    assert all(f"{name}=" in text for name, *_ in Settings.documentation())
    assert all(name in call("--help").stdout for name in ("run", "explain", "diff", "passes", "ops", "view"))
    assert call().exit_code == 0


def test_version() -> None:
    import trt_passes

    assert call("--version").stdout == f"trt-passes {trt_passes.__version__}\n"


def test_python_m_is_the_command(tmp_path: Path) -> None:
    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trt_passes", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    assert ran("explain", "TP203").stdout == call("explain", "TP203").stdout
    lost = ran("explian")
    assert lost.returncode == 1
    assert "Did you mean 'explain'" in lost.stderr


HEAVY = ("torch", "numpy", "networkx", "rich", "graphviz", "tensorrt", "tensorrt_rtx")


def heavy_modules(arguments: list[str], folder: Path) -> list[str]:
    """Which of the heavy modules a command imports, in a process of its own; the command must do what was asked."""
    code = (
        "import sys\nfrom trt_passes.compiler.cli.main import main\n"
        f"try: main.main(args={arguments!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print('HEAVY', *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=folder)
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "command",
    ["--help", "--version", "explain TP203", "passes", "ops", "ops add", "ops *_pool2d", "ops aten.linalg_svd"]
    + [f"{name} --help" for name in ("run", "explain", "diff", "passes", "ops", "view")],
)
def test_quick_commands_do_not_import_torch(command: str, tmp_path: Path) -> None:
    if command == "ops aten.linalg_svd" and not torch.__version__.startswith(f"{shipped().torch}."):
        pytest.skip(f"the catalog is of PyTorch {shipped().torch}")
    assert heavy_modules(command.split(), tmp_path) == []


@pytest.mark.parametrize(
    "command",
    ["explain dump", "explain dump %sort", "explain --modules dump", "diff dump input annotate", "diff dump dump"]
    + ["view dump --export model-explorer -o explorer.json"],
)
def test_commands_on_a_dump_do_not_import_torch(command: str, built: tuple[Path, Result]) -> None:
    assert heavy_modules(command.split(), built[0]) == []


def test_fallbacks_are_grouped_by_line_and_reason() -> None:
    def row(node: str, line: int, code: str, verdict: Verdict = Verdict.REJECTED) -> LedgerRow:
        return LedgerRow(node, "aten.sort", verdict, (Reason(code, f"about {node}."),), source=f"m.py:{line}")

    rows = (row("a", 1, "TP201"), row("b", 2, "TP201"), row("c", 2, "TP201"), row("d", 2, "TP203"))
    trt = LedgerRow("e", "aten.relu", Verdict.TRT)
    found = [(group.source, group.code, group.count, group.message) for group in fallbacks(Ledger((*rows, trt)))]
    assert found == [
        ("m.py:2", "TP201", 2, "about b."),
        ("m.py:1", "TP201", 1, "about a."),
        ("m.py:2", "TP203", 1, "about d."),
    ]


class Counting(torch.nn.Module):
    """State that no graph holds, between what can be converted."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.calls = 0
        self.seen = [torch.zeros(1)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        y = torch.relu(self.a(x)) * 2
        self.seen.append(y.sum().reshape(1))
        z = torch.tanh(self.b(y)) + self.calls
        return z * torch.cat(self.seen).sum()


@pytest.mark.filterwarnings("ignore:`torch.jit")
@torch.no_grad()
def test_torchscript_in_blocks(tmp_path: Path) -> None:
    script = torch.jit.script(Counting().eval())
    torch.jit.save(script, tmp_path / "model.pt")
    run = ["run", str(tmp_path / "model.pt"), "--input", "1..8x4", "--set", "min_block_size=1", "--executor", "pytorch"]
    dump, output = tmp_path / "dump", tmp_path / "m.ts"
    result = call(*run, "--dump-dir", str(dump), "-o", str(output), "--check-numerics")
    assert result.exit_code == 0, result.output
    assert "note: the TorchScript model cannot be converted as a whole: it changes the list" in result.stdout
    assert "block_00/segment-00" in result.stdout
    compiled = torch.jit.load(output)
    for rows in (3, 1, 8):
        x = torch.randn(rows, 4)
        torch.testing.assert_close(compiled(x), script(x), rtol=1e-4, atol=1e-4)
    assert {path.name for path in dump.iterdir()} >= {"block-00", "block-01", "index.html", "why.txt", "run.json"}
    lines = Path(__file__).read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if "self.calls += 1" in text)
    assert f"test_main.py:{line}: prim.SetAttr stays TorchScript" in call("explain", str(dump)).stdout
    assert call("explain", str(dump), "block_00/relu").stdout.startswith("%relu = aten.relu: trt in segment-00")
    assert call("explain", str(dump), "--modules").stdout.startswith("(model)  ")
    assert "same settings, verdicts and segments" in call("diff", str(dump), str(dump)).stdout
    printed = json.loads(call(*run, "--json").stdout)
    assert printed["verdicts"] == json.loads((dump / "run.json").read_text())["verdicts"]
    assert "which only TorchScript can hold: name the output m.ts" in call(*run, "-o", str(tmp_path / "m.pt2")).output
    refused = call(*run, "--set", "require_full_compilation=true")
    assert refused.exit_code == 1
    assert not [path for path in (tmp_path / "m.pt2",) if path.exists()]
