"""Where the run time of a TorchScript model goes: by block, and between the blocks."""

from pathlib import Path

import pytest
import torch
import trt_passes as tp
from click.testing import CliRunner
from trt_passes.compiler.cli.main import main

from tests.compiler.frontends.torchscript.test_blocks import ROWS, Counting, OnValue, X
from tests.marks import gpu

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit", "ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::UserWarning"
)


def test_time_by_block_and_between(tmp_path: Path) -> None:
    script = torch.jit.script(Counting().eval())
    compiled = tp.compile(script, [ROWS], executor="pytorch", min_block_size=1)
    compiled(X)
    profile = compiled.profile(X)
    expected = {record.name for record in compiled.report.segments}
    assert {place.name for place in profile.engines()} == expected
    assert all(place.us > 0 for place in profile.engines())
    assert {"aten.cat"} <= {place.name for place in profile.operators()}
    assert profile.call_us > 0
    assert compiled.calls == 1  # profiling left the state alone
    profile.save(str(tmp_path / "profile.json"))
    assert "block_00/segment-00" in (tmp_path / "profile.json").read_text()
    lines = {place.name for place in profile.lines()}
    assert any("test_blocks.py" in name for name in lines)


def test_what_a_profile_needs() -> None:
    script = torch.jit.script(OnValue().eval())
    compiled = tp.compile(script, [X.abs()], executor="reference", min_block_size=1)
    with pytest.raises(tp.UserError, match="set executor='pytorch'"):
        compiled.profile(X)
    with pytest.raises(tp.UserError, match="has no method 'decode' to profile"):
        compiled.profile.of("decode")(X)


def test_the_command_profiles_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(Counting().eval()), path)
    words = ["profile", str(path), "--input", "3x4", "--executor", "pytorch", "--set", "min_block_size=1"]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "by engine" in done.output
    assert "block_00/segment-00" in done.output


@gpu
def test_kernels_of_blocks() -> None:
    script = torch.jit.script(OnValue().eval()).cuda()
    compiled = tp.compile(script, [X.abs().cuda()], executor="tensorrt", min_block_size=1)
    profile = compiled.profile(X.abs().cuda())
    assert {place.name for place in profile.engines()} == {record.name for record in compiled.report.segments}
    assert any(kernel.segment is None and kernel.us > 0 for kernel in profile.kernels)
