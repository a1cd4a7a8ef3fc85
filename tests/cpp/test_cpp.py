"""Compiled TorchScript without Python: the library and the example in `cpp/`, built and run on the CPU.

`make cpp` runs this file, and builds into `build/cpp` what takes minutes; elsewhere it is skipped.
"""

from __future__ import annotations

import copy
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tests.compiler.frontends.torchscript.programs import Attributes, Kept, Rounds, ShortLayers, Texts
from tests.compiler.frontends.torchscript.test_blocks import PROGRAMS

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "cpp"

pytestmark = [
    pytest.mark.skipif("TRT_PASSES_CPP" not in os.environ, reason="TRT_PASSES_CPP is not set: `make cpp` builds cpp/"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore:`torch.jit"),
]


@pytest.fixture(scope="module")
def example() -> Path:
    """The program, built if what it is made of changed."""
    prefix = f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"
    for command in (
        ["cmake", "-S", str(ROOT / "cpp"), "-B", str(BUILD), "-DCMAKE_BUILD_TYPE=Release", prefix],
        ["cmake", "--build", str(BUILD)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return BUILD / "trt_passes_example"


def run(example: Path, script: Any, inputs: tuple[Any, ...], folder: Path, calls: int = 1) -> Any:
    """What calls of a saved model return there."""
    torch.jit.save(script, folder / "model.ts")
    torch.save(inputs, folder / "inputs.pt")
    files = [str(folder / name) for name in ("model.ts", "inputs.pt", "results.pt")]
    done = subprocess.run([str(example), *files, str(calls)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(folder / "results.pt", weights_only=False)  # C++ marks lists with functions of PyTorch's


class Picture(nn.Module):
    """Sizes that vary, numbers in the place of tensors, several results, what shares memory with an input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.n, self.b = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = nn.functional.interpolate(torch.relu(self.n(self.a(x))), scale_factor=2.0)
        first, second = torch.nn.functional.gelu(y.mean((2, 3))).split(2, 1)
        z = torch.softmax(self.b(torch.cat([second, first], 1)), -1)[:, 1:] * x.shape[0] - 0.5
        kinds = (z > 0.1).to(torch.int64) + torch.arange(5, dtype=torch.int64)
        return z, y.max(1)[0], kinds, torch.where(z > 0, z, 2.0).half(), x.transpose(1, 2).reshape(x.shape[0], -1), z.T


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 3, 6])
def test_sizes(example: Path, tmp_path: Path, rows: int) -> None:
    model = Picture().eval()
    images = tp.Input(min_shape=(1, 3, 8, 8), opt_shape=(3, 3, 8, 8), max_shape=(6, 3, 8, 8))
    compiled = tp.compile(model, [images], ir="ts", min_block_size=1)
    assert compiled.report.verdicts["trt"] > 10
    x = torch.randn(rows, 3, 8, 8)
    (found,) = run(example, compiled, (x,), tmp_path)
    torch.testing.assert_close(list(found), list(model(x)), rtol=1e-4, atol=1e-4)


ROWS = torch.linspace(-2, 2, 8).reshape(2, 4)
WHOLE = {
    "state": (Kept, (ROWS,)),
    "constants": (lambda: Attributes(bias=True), (ROWS,)),
    "recurrent": (ShortLayers, (ROWS.repeat(3, 1, 1), None)),
    "dictionaries": (Texts, (ROWS,)),
    "loops": (Rounds, (ROWS, 5)),
}


@torch.no_grad()
@pytest.mark.parametrize("name", [*WHOLE, *PROGRAMS])
def test_torchscript(example: Path, tmp_path: Path, name: str) -> None:
    kind, inputs = {**PROGRAMS, **WHOLE}[name]
    script = torch.jit.script(kind().eval())
    original = copy.deepcopy(script)
    compiled = tp.compile(script, list(inputs), min_block_size=1)
    assert compiled.report.verdicts["trt"]
    found = run(example, compiled, inputs, tmp_path, calls=4)
    for result in found:
        expected = original(*copy.deepcopy(inputs))
        first, second = pytree.tree_leaves(result), pytree.tree_leaves(expected)
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


def test_what_only_python_has(example: Path, tmp_path: Path) -> None:
    engine = tp.convert_to_engine(nn.Linear(4, 4).eval(), [ROWS])
    torch.jit.save(tp.embed_engine_in_new_module(engine), tmp_path / "model.ts")
    torch.save((ROWS,), tmp_path / "inputs.pt")
    files = [str(tmp_path / name) for name in ("model.ts", "inputs.pt", "results.pt")]
    done = subprocess.run([str(example), *files], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "this engine has no PyTorch graph to run without TensorRT" in done.stderr
    done = subprocess.run([str(example)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[:6]) == (1, "usage:")
