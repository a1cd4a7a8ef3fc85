"""What a user can get wrong: one clear sentence, exit code 1, no traceback, and no file that should not be there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.tensorrt import loader

MODELS = str(Path(__file__).with_name("cli_models.py"))
BLOCKS = f"{MODELS}:blocks"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def refused(*arguments: str) -> str:
    """The one line that the command line answers with."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 1, (result.output, result.exception)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("trt-passes: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.pt2"], "there is no file nothing.pt2"),
        (["nothing.py:model"], "there is no file nothing.py"),
        (["nothing"], "there is no model 'nothing'"),
        ([f"{MODELS}:block"], "Did you mean 'blocks'"),
        ([MODELS], ":NAME. It defines: blocks"),
        ([f"{MODELS}:raising"], "raised KeyError at cli_models.py:"),
        ([f"{MODELS}:branching"], "the model decides by a value of a tensor at cli_models.py:"),
        ([BLOCKS, "--input", "2xx8"], "has the size ''"),
        ([BLOCKS, "--input", "2x8:f17"], "unknown dtype 'f17'"),
        ([BLOCKS, "--input", "99999999999999999999x8"], "the size 99999999999999999999 in dimension 0"),
        ([BLOCKS, "--input", "17592186044416x8"], "there is no memory for an example of the input"),
        ([BLOCKS, "--input", "8..4..16x8"], "min 8, opt 4, max 16 in dimension 0"),
        ([BLOCKS, "--input", "2x8", "--input", "2x8"], "takes 1 input (x), and --input is given 2 times"),
        ([BLOCKS, "--input", "y=2x8"], "no input 'y'"),
        ([BLOCKS, "--input", "2x7"], "the model itself raises RuntimeError at cli_models.py:"),
        ([f"{MODELS}:pair", "--input", "1..4x4", "--input", "1..8x4"], "'right' dimension 0 is declared as 1..8"),
        ([BLOCKS, "--set", "min_blok_size=3"], "Did you mean 'min_block_size'"),
        ([BLOCKS, "--set", "min_block_size"], "has no value"),
        ([BLOCKS, "--set", "torch_executed_ops=aten.sortt"], "'aten.sortt', which is not an operator"),
        ([BLOCKS, "--set", "torch_executed_ops=aten.softmx"], "Did you mean 'aten.softmax'"),
        ([BLOCKS, "--executor", "cuda"], "option 'executor' is 'cuda'"),
        ([BLOCKS, "-p", "decompose,partion"], "unknown pass 'partion'. Did you mean 'partition'"),
        ([BLOCKS, "-p", "decompose,partition"], "partition needs 'annotated': put annotate before it"),
        ([BLOCKS, "-p", "decompose,annotate{x=1}"], "no option 'x'"),
        ([BLOCKS, "--until", "partion"], "no pass or stage 'partion'. Did you mean 'partition'"),
        ([BLOCKS, "-o", "x.pt2", "--until", "partition"], "-o x.pt2 needs a compiled model"),
        ([BLOCKS, "-o", "x.onnx"], "does not end in .pt2"),
        ([BLOCKS, "-o", "none/x.pt2"], "there is no folder none"),
        ([BLOCKS, "--dump"], "'--dump'"),
        ([BLOCKS, "--dump-dir"], "requires an argument"),
        ([], "Missing argument 'MODEL'"),
    ],
)
def test_one_sentence_and_nothing_written(arguments: list[str], words: str, empty_folder: Path) -> None:
    dump = [] if "--dump-dir" in arguments or "--dump" in arguments else ["--dump-dir", "dump"]
    message = refused("run", *dump, *arguments)
    assert words in message
    assert [path for path in empty_folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "unknown command 'rnu'. Did you mean 'run'"),
        (["explain"], "Missing argument 'CODE|DIR'"),
        (["explain", "TP2O3"], "neither a reason code such as TP203 nor a dump folder"),
        (["explain", "TP299"], "there is no reason code 'TP299'. Did you mean"),
        (["ops", "aten.nonsense_operator"], "no operator 'aten.nonsense_operator' has a converter"),
        (["diff", "none", "a", "b"], "there is no folder none"),
        (["view", "none"], "there is no folder none"),
        (["passes", "surplus"], "unexpected extra argument"),
        (["--verson"], "--verson"),
    ],
)
def test_other_commands(arguments: list[str], words: str) -> None:
    assert words in refused(*arguments)


@pytest.mark.parametrize("arguments", [["explain", "dump"], ["view", "dump"], ["diff", "dump", "dump"]])
def test_a_folder_where_the_run_should_be(arguments: list[str], empty_folder: Path) -> None:
    (empty_folder / "dump" / "run.json").mkdir(parents=True)
    assert "dump/run.json cannot be read: Is a directory" in refused(*arguments)


def test_files_that_are_not_models(empty_folder: Path) -> None:
    (empty_folder / "text.pt2").write_text("hello")
    torch.save({"weight": torch.ones(2)}, empty_folder / "weights.pt")
    assert "text.pt2 is not a program saved by torch.export.save" in refused("run", "text.pt2")
    assert "weights.pt is not a TorchScript model" in refused("run", "weights.pt")
    (empty_folder / "text.pt").write_text("hello")
    assert "text.pt is not a TorchScript model: it is no archive" in refused("run", "text.pt")
    (empty_folder / "model.onnx").write_text("hello")
    assert "not a model that can be read" in refused("run", "model.onnx")


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_with_inputs_that_it_does_not_take(empty_folder: Path) -> None:
    class Model(torch.nn.Linear):
        def forward(model, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x @ model.weight)

    torch.jit.script(Model(4, 4).eval()).save("model.pt")
    assert "mat1 and mat2 shapes" in refused("run", "model.pt", "--input", "2x5")
    assert "called with x: f16[2,4]: expected m1 and m2" in refused("run", "model.pt", "--input", "2x4:f16")
    assert "takes 1 input (x), and --input is given 2" in refused("run", "model.pt", "--input", "4", "--input", "4")
    whole = Path("model.pt").read_bytes()
    Path("half.pt").write_bytes(whole[: len(whole) // 2])
    assert "half.pt is not a TorchScript model: it is cut short" in refused("run", "half.pt", "--input", "2x4")
    with zipfile.ZipFile("other.pt", "w") as archive:
        archive.writestr("a/b", "c")
    assert "other.pt is not a TorchScript model: it is an archive of something else" in refused("run", "other.pt")


class Encoder(torch.nn.Module):
    @torch.jit.export
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_without_forward(empty_folder: Path) -> None:
    torch.jit.script(Encoder()).save("model.pt")
    said = "the TorchScript module Encoder has no method forward: give another method of it, such as model.encode"
    assert said in refused("run", "model.pt", "--input", "2x4")


def test_a_rejected_model_keeps_the_reason_and_the_line() -> None:
    message = refused("run", f"{MODELS}:branching")
    line = next(
        number for number, text in enumerate(Path(MODELS).read_text().splitlines(), 1) if "if x.sum() > 0" in text
    )
    assert f"cli_models.py:{line}" in message
    assert "data-dependent" in message or "guard" in message


# --- the dump folder -----------------------------------------------------------------------------------------------
def test_a_folder_of_someone_else_is_left_alone(empty_folder: Path) -> None:
    (empty_folder / "precious").mkdir()
    (empty_folder / "precious" / "thesis.txt").write_text("years of work")
    message = refused("run", f"{MODELS}:raising", "--dump-dir", "precious")
    assert "precious" in message
    assert "KeyError" not in message, "the folder is judged before the model is loaded"
    assert [path.name for path in (empty_folder / "precious").iterdir()] == ["thesis.txt"]


def test_an_earlier_dump_is_replaced(empty_folder: Path) -> None:
    for text in ("annotate", "decompose"):
        result = CliRunner().invoke(main, ["run", BLOCKS, "--until", text, "--dump-dir", "dump"])
        assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (empty_folder / "dump").iterdir())
    assert not [name for name in names if name.endswith("-annotate")]
    assert "ledger.jsonl" not in names or (empty_folder / "dump" / "ledger.jsonl").read_text() == ""


@pytest.mark.parametrize("place", ["file/dump", "file"])
def test_a_folder_that_cannot_be_written(place: str, empty_folder: Path) -> None:
    (empty_folder / "file").write_text("not a folder")
    message = refused("run", f"{MODELS}:raising", "--dump-dir", place)
    assert place in message
    assert "KeyError" not in message, "the folder is judged before the model is loaded"
    assert (empty_folder / "file").read_text() == "not a folder"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system in which nobody may write")
def test_a_folder_that_nobody_may_write() -> None:
    assert "/proc/dump" in refused("run", BLOCKS, "--until", "partition", "--dump-dir", "/proc/dump")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs more rights")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    message = refused("run", BLOCKS, "--until", "partition", "--dump-dir", str(small_disk / "dump"))
    assert "No space left on device" in message
    assert_whole_folders(small_disk / "dump")


@pytest.mark.long
def test_files_that_may_not_grow(empty_folder: Path) -> None:
    """The same as a full disk where no small one can be mounted: the process may write files of 4 kB only."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "from trt_passes.compiler.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "run", BLOCKS, "--until", "partition", "--dump-dir", "dump"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert_whole_folders(empty_folder / "dump")


def assert_whole_folders(dump: Path) -> None:
    """No file and no folder of a dump is half-written."""
    assert not [path for path in dump.rglob("*") if path.name.startswith(".") or path.name.endswith(".tmp")]
    for path in dump.rglob("*.json"):
        json.loads(path.read_text())
    for folder in dump.glob("[0-9]*-input"):
        assert (folder / "graph.txt").read_text()


# --- TensorRT and Ctrl-C -------------------------------------------------------------------------------------------
@pytest.fixture
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    loader.load.cache_clear()
    yield
    loader.load.cache_clear()


@pytest.mark.usefixtures("no_tensorrt")
def test_without_tensorrt_everything_up_to_partition_works(empty_folder: Path) -> None:
    options = ["--set", "min_block_size=3", "--dump-dir", "dump"]
    result = CliRunner().invoke(main, ["run", BLOCKS, "--until", "partition", *options])
    assert result.exit_code == 0, result.output
    assert "segment-00" in result.stdout
    message = refused("run", BLOCKS, "-o", "compiled.pt2", *options)
    assert 'pip install "trt-passes[rtx]"' in message
    assert not (empty_folder / "compiled.pt2").exists()
    assert list((empty_folder / "dump").glob("*-partition"))
    assert "TensorRT" in json.loads((empty_folder / "dump" / "run.json").read_text())["failure"]


def finished_passes(dump: Path) -> list[str]:
    """The passes that the report in a dump names; none before there is a report."""
    path = dump / "run.json"
    return [item["name"] for item in json.loads(path.read_text())["passes"]] if path.exists() else []


@pytest.mark.long
def test_ctrl_c_in_the_middle_of_a_build(empty_folder: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    code = "from trt_passes.compiler.cli.main import main; main()"
    arguments = ["run", f"{MODELS}:slow", "--dump-dir", "dump", "-o", "compiled.pt2"]
    with (empty_folder / "out").open("w") as out, (empty_folder / "err").open("w") as err:
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=out, stderr=err)
        deadline = time.monotonic() + 300
        while "convert" not in finished_passes(empty_folder / "dump") and time.monotonic() < deadline:
            assert process.poll() is None, (empty_folder / "err").read_text()
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    assert process.returncode == 1
    message = (empty_folder / "err").read_text()
    assert message == "trt-passes: stopped by Ctrl-C; dump holds the passes that finished.\n"
    assert (empty_folder / "out").read_text() == ""
    assert not (empty_folder / "compiled.pt2").exists()
    assert json.loads((empty_folder / "dump" / "run.json").read_text())["failure"]
    assert finished_passes(empty_folder / "dump")[-1] == "convert"
    assert_whole_folders(empty_folder / "dump")


def test_a_failing_pass_ends_with_its_reproducer(monkeypatch: pytest.MonkeyPatch, empty_folder: Path) -> None:
    from trt_passes.passes.partition import Partition

    def broken(self: Partition, program: object, ctx: object) -> object:
        raise RuntimeError("a bug for this test")

    monkeypatch.setattr(Partition, "run", broken)
    result = CliRunner().invoke(main, ["run", BLOCKS, "--dump-dir", "dump"])
    assert result.exit_code == 2
    assert "pass 'partition' failed: RuntimeError: a bug for this test" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("reproduce with: ")
    assert "Traceback" not in result.stderr
    assert list((empty_folder / "dump" / "repro").iterdir())
