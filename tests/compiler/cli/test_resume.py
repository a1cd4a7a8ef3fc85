"""`trt-passes run DUMP --from STAGE`: a run goes on from any stage of a dump, with the model's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.cli.run import Request, perform

pytest.importorskip("tensorrt_rtx")

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)
        self.register_buffer("scale", torch.linspace(1, 2, 5))
        with torch.no_grad():
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(x.mean((2, 3))) * self.scale.exp()

def net():
    return Net(0).eval(), torch.linspace(-1, 1, 384).reshape(2, 3, 8, 8)

def other():
    return Net(1).eval(), net()[1]

def smaller():
    return nn.Linear(4, 5), torch.ones(2, 4)
"""
SETTINGS = ["--set", "min_block_size=1", "--executor", "reference"]
STAGES = ["decompose", "lower", "lower.fold-constants", "annotate", "partition", "convert", "build", "splice"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the factory and the dump of a whole run."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "model.py").write_text(FACTORY)
    command = [
        "run",
        f"{folder}/model.py:net",
        "--input",
        "1..2..4x3x8x8",
        "--dump-dir",
        str(folder / "dump"),
        *SETTINGS,
    ]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return folder


def model_of(home: Path) -> tuple[nn.Module, torch.Tensor]:
    space: dict[str, object] = {}
    exec((home / "model.py").read_text(), space)
    made: tuple[nn.Module, torch.Tensor] = space["net"]()  # type: ignore[operator]
    return made


def resume(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["run", str(home / "dump"), *arguments])


@pytest.mark.parametrize("stage", STAGES)
def test_from_every_stage(home: Path, stage: str) -> None:
    executor = "pytorch" if stage == "splice" else "reference"  # networks are not in a dump
    asked = Request(str(home / "dump"), "", from_=stage, weights=f"{home}/model.py:net", executor=executor)
    done = perform(asked)
    model, _ = model_of(home)
    assert done.compiled is not None
    with torch.no_grad():
        for batch in (1, 4):
            x = torch.linspace(-1, 2, batch * 192).reshape(batch, 3, 8, 8)
            torch.testing.assert_close(done.compiled(x), model(x), rtol=1e-4, atol=1e-5)
    first = done.report.passes[0]
    assert stage in (first.name, first.stage) or (stage == "build" and first.name == "convert")
    assert done.report.settings["min_block_size"] == 1, "the settings of the dump hold"
    assert [s.name for s in done.report.segments] == ["segment-00"]


def test_weights_can_be_an_exported_program(home: Path, tmp_path: Path) -> None:
    model, x = model_of(home)
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "model.pt2")
    result = resume(home, "--from", "convert", "--weights", str(tmp_path / "model.pt2"))
    assert result.exit_code == 0, result.output
    assert "1 engine call in the module" in result.stdout


def test_without_weights_until_partition(home: Path, tmp_path: Path) -> None:
    more = ["--set", "min_block_size=50", "--until", "partition", "--dump-dir", str(tmp_path / "again")]
    result = resume(home, "--from", "annotate", *more)
    assert result.exit_code == 0, result.output
    assert "nothing goes to TensorRT" in result.stdout
    assert (tmp_path / "again" / "run.json").exists()


def test_a_dump_of_the_rest_of_a_run_needs_what_passes_made(home: Path, tmp_path: Path) -> None:
    again = str(tmp_path / "again")
    first = resume(home, "--from", "annotate", "--weights", f"{home}/model.py:net", "--dump-dir", again)
    assert first.exit_code == 0, first.output
    result = CliRunner().invoke(main, ["run", again, "--from", "convert", "--weights", f"{home}/model.py:net"])
    assert result.exit_code == 1
    assert "has no weight " in result.stderr, "what a pass made is not the model's: the first dump has how"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "anotate"], "has no such pass or stage. Did you mean 'annotate'"),
        (["--from", "convert"], "give the model that was dumped with --weights"),
        (["--from", "convert", "--weights", "{home}/model.py:other"], "has other numbers than in the dump"),
        (["--from", "convert", "--weights", "{home}/model.py:smaller"], "has no weight "),
        (["--from", "convert", "--weights", "{home}/nothing.pt2"], "there is no file"),
        (["--from", "annotate", "--input", "2x3x8x8"], "--input is for models"),
        (["--from", "annotate", "--dump-dir", "{home}/dump"], "the dump that is continued: name another"),
        (["--weights", "{home}/model.py:net"], "give --from, or leave it out"),
        (["--from", "annotate", "--set", "min_blok_size=1"], "Did you mean 'min_block_size'"),
        (["--from", "annotate", "-p", "annotate,partition,lower.nothing"], "unknown pass"),
    ],
)
def test_what_a_user_can_get_wrong(home: Path, arguments: list[str], words: str) -> None:
    result = resume(home, *(item.format(home=home) for item in arguments))
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_folders_that_are_no_dumps(home: Path, tmp_path: Path) -> None:
    for folder, words in (
        (tmp_path, "is not a dump folder"),
        (tmp_path / "nowhere", "is no folder: give one that"),
    ):
        result = CliRunner().invoke(main, ["run", str(folder), "--from", "annotate"])
        assert result.exit_code == 1
        assert words in result.stderr
    (tmp_path / "run.json").write_text('{"schema": 1, "pipeline": "decompose,lower,annotate"}')
    result = CliRunner().invoke(main, ["run", str(tmp_path), "--from", "annotate"])
    assert result.exit_code == 1
    assert "holds no program" in result.stderr


def test_torchscript_in_blocks_is_continued_block_by_block(tmp_path: Path) -> None:
    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            while bool(x.sum() > 100):
                x = x / 2
            return x

    model, dump = str(tmp_path / "model.pt"), tmp_path / "dump"
    torch.jit.script(Halved().eval()).save(model)
    CliRunner().invoke(main, ["run", model, "--input", "2x4", "--until", "partition", "--dump-dir", str(dump)])
    result = CliRunner().invoke(main, ["run", str(dump), "--from", "annotate"])
    assert result.exit_code == 1
    assert f"continue that of one, such as {dump}/block-00" in result.stderr
    result = CliRunner().invoke(main, ["run", f"{dump}/block-00", "--from", "annotate", "--weights", model])
    assert result.exit_code == 0, result.output
