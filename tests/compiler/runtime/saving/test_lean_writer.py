"""Archives are written without copies of what they hold, and are the same."""

from __future__ import annotations

import io
import tracemalloc

import pytest
import torch
from torch import nn
from trt_passes.compiler.runtime.saving import lean_writer as module
from trt_passes.compiler.runtime.saving.lean_writer import lean_writer


class Shared(nn.Module):
    """Weights of several types, of which two are views of one memory."""

    def __init__(self) -> None:
        super().__init__()
        whole = torch.randn(1024, 1024)
        self.first, self.second = nn.Parameter(whole[:512]), nn.Parameter(whole[512:])
        self.register_buffer("scale", torch.randn(1024, 1024).half().t())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.first.t() + (x @ self.second.t()) * self.scale[0, 0]


class Discarded(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return offset

    def write(self, data: object) -> int:
        return len(data)  # type: ignore[arg-type]


def saved(program: torch.export.ExportedProgram, lean: bool) -> bytes:
    file = io.BytesIO()
    if lean:
        with lean_writer():
            torch.export.save(program, file)
    else:
        torch.export.save(program, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    return torch.export.export(Shared(), (torch.randn(2, 1024),))


def test_the_file_is_the_same(program: torch.export.ExportedProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    lean = saved(program, True)
    assert lean == saved(program, False)
    again = torch.export.load(io.BytesIO(lean))
    for name, tensor in program.state_dict.items():
        assert torch.equal(again.state_dict[name], tensor), name
    from torch.export.pt2_archive import _package

    monkeypatch.delattr(_package, "_get_raw_tensor_bytes")
    with lean_writer():  # a release without it
        pass


def test_no_tensor_is_copied(program: torch.export.ExportedProgram) -> None:
    assert module._LEAST < 4 << 20
    peaks = []
    for lean in (True, False):
        tracemalloc.start()
        file = Discarded()
        if lean:
            with lean_writer():
                torch.export.save(program, file)
        else:
            torch.export.save(program, file)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < peaks[1] - (3 << 20)
