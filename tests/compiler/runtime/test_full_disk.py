"""What happens when a file cannot be written to its end; in other processes, which a wrong answer would kill."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trt_passes.compiler.runtime.whole_file import write_archive
from trt_passes.compiler.tensorrt import loader

LIMITED = """
import resource, signal, sys, warnings
warnings.simplefilter("ignore")
import torch, trt_passes as tp
from trt_passes.compiler.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
"""
"""Files may grow to 16000 bytes, which stands for a full disk: writing more raises OSError."""

LIMIT = "resource.setrlimit(resource.RLIMIT_FSIZE, (16000, resource.RLIM_INFINITY))\n"

SAVE = f"""{LIMITED}
model = torch.nn.Sequential(torch.nn.Linear(128, 128), torch.nn.ReLU()).eval()
compiled = tp.compile(model, [torch.randn(2, 128)], min_block_size=1, executor="pytorch")
{LIMIT}
for name in ("m.pt2", "m.ts"):
    try:
        tp.save(compiled, name)
    except tp.UserError as error:
        print(error)
"""

MODEL = """
import torch
def model():
    return torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.ReLU()), torch.randn(2, 512)
"""


def run(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a folder."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


@pytest.mark.skipif(loader.available() is None, reason="needs TensorRT")
def test_a_full_disk_is_told_and_the_process_goes_on(tmp_path: Path) -> None:
    done = run(SAVE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["cannot write m.pt2: File too large.", "cannot write m.ts: File too large."]
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.skipif(loader.available() is None, reason="needs TensorRT")
def test_the_command_line_says_it_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    chosen = ("--set", "min_block_size=1", "--set", "mutable_weights=true")
    arguments = ("run", "mine.py:model", *chosen, "-o", "m.pt2")
    # The engine fits, in a file without a name, and the archive with weights does not.
    done = run(f"{LIMITED}{LIMIT.replace('16000', '800000')}main()", tmp_path, *arguments)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == "trt-passes: cannot write m.pt2: File too large."
    assert not [path for path in tmp_path.iterdir() if path.name not in ("mine.py", "__pycache__")]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_the_writer_of_an_archive_never_sees_an_error(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"before")
    asked: list[bytes] = []

    class Full:
        def write(self, data: bytes) -> int:
            asked.append(data)
            raise error

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(Path, "open", lambda self, mode: Full())

    def write(file: Any) -> None:
        assert file.writable()
        assert file.seekable()
        assert [file.write(b"one"), file.write(b"three"), file.seek(2, 1)] == [3, 5, 0]

    with pytest.raises(type(error)):
        write_archive(tmp_path / "file", write)
    monkeypatch.undo()
    assert asked == [b"one"]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"before")]
