"""Compiled TorchScript without Python: the library and the example in `cpp/`, built and run on the CPU.

Both are compiled without optimization wherever there is a C++ compiler; what was built of the same sources before is
used again. `make cpp` builds them with CMake instead, as users do, and runs the long tests, too.
"""

from __future__ import annotations

import copy
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from trt_passes.compiler.ir.operators import DEQUANTIZE, QUANTIZE
from trt_passes.passes.decompose.quantized_blocks import fake_nvfp4

from tests.compiler.frontends.torchscript.programs import Attributes, Kept, Rounds, ShortLayers, Texts
from tests.compiler.frontends.torchscript.test_blocks import PROGRAMS
from tests.compiler.frontends.torchscript.test_memory import quantised
from tests.marks import some_long

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "cpp"

COMPILER = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler: install g++"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore:`torch.jit"),
]


@functools.cache
def example() -> Path:
    """The program, built if what it is made of changed."""
    return built_by_cmake() if "TRT_PASSES_CMAKE" in os.environ else built_at_once()


def built_by_cmake() -> Path:
    """As docs/torchscript.md says."""
    prefix = f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"
    said_by("cmake", "-S", str(ROOT / "cpp"), "-B", str(BUILD), "-DCMAKE_BUILD_TYPE=Release", prefix)
    said_by("cmake", "--build", str(BUILD))
    return BUILD / "trt_passes_example"


def built_at_once() -> Path:
    """Without optimization, and the library as one file, so that PyTorch's headers are read once for it.

    The folder is named after all that is compiled, by what, and appears with everything in it.
    """
    sources = sorted((ROOT / "cpp").iterdir())
    library = [path for path in sources if path.suffix == ".cpp" and path.stem != "example"]
    torch_folder = Path(torch.__file__).parent
    flags = ["-std=c++20", "-O0", "-Wall", "-Wextra", "-Wno-unused-parameter"]
    includes = [torch_folder / "include", torch_folder / "include" / "torch" / "csrc" / "api" / "include"]
    flags += [word for folder in includes for word in ("-isystem", str(folder))]
    links = [f"-L{torch_folder / 'lib'}", f"-Wl,-rpath,{torch_folder / 'lib'}", "-ltorch_cpu", "-lc10"]
    version = said_by(str(COMPILER), "--version")
    whole = repr((version, torch.__version__, torch.version.git_version, flags, links))
    whole += "".join(f"{path.name}\n{path.read_text()}" for path in sources)
    folder = BUILD / hashlib.sha256(whole.encode()).hexdigest()[:16]
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:  # several processes run tests
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            build_into(folder, library, flags, links)
    return folder / "trt_passes_example"


def build_into(folder: Path, library: Sequence[Path], flags: Sequence[str], links: Sequence[str]) -> None:
    """The program and the library in a folder, or nothing."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished_name:
        unfinished = Path(unfinished_name, "build")
        unfinished.mkdir()
        together = unfinished / "together.cpp"
        together.write_text("".join(f'#include "{path}"\n' for path in library))
        lib, program = unfinished / "libtrt_passes_operators.so", unfinished / "trt_passes_example"
        said_by(str(COMPILER), *flags, "-shared", "-fPIC", str(together), "-o", str(lib), *links)
        named = ["-Wl,--no-as-needed", f"-L{unfinished}", "-ltrt_passes_operators", "-Wl,-rpath,$ORIGIN"]
        said_by(str(COMPILER), *flags, str(ROOT / "cpp" / "example.cpp"), "-o", str(program), *links, *named)
        unfinished.replace(folder)


def said_by(*command: str) -> str:
    """What a command writes; it has to succeed."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout


def run(script: Any, inputs: tuple[Any, ...], folder: Path, calls: int = 1) -> Any:
    """What calls of a saved model return there."""
    torch.jit.save(script, folder / "model.ts")
    return run_file(folder / "model.ts", inputs, folder, calls)


def run_file(model: Path, inputs: tuple[Any, ...], folder: Path, calls: int = 1) -> Any:
    """What calls of the model in a file return there."""
    torch.save(inputs, folder / "inputs.pt")
    files = [str(model), str(folder / "inputs.pt"), str(folder / "results.pt")]
    done = subprocess.run([str(example()), *files, str(calls)], capture_output=True, text=True, check=False)
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
@pytest.mark.parametrize("rows", some_long([1, 3, 6], [3]))
def test_sizes(tmp_path: Path, rows: int) -> None:
    model = Picture().eval()
    images = tp.Input(min_shape=(1, 3, 8, 8), opt_shape=(3, 3, 8, 8), max_shape=(6, 3, 8, 8))
    compiled = tp.compile(model, [images], ir="ts", min_block_size=1)
    assert compiled.report.verdicts["trt"] > 10
    x = torch.randn(rows, 3, 8, 8)
    (found,) = run(compiled, (x,), tmp_path)
    torch.testing.assert_close(list(found), list(model(x)), rtol=1e-4, atol=1e-4)


class Branches(nn.Module):
    """An `if` on a tensor, in another, which become torch.cond."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor, times: int) -> Tensor:
        if bool(x.mean() > -1):
            y = torch.relu(self.layer(x))
            if bool(y.max() > 100):
                y = y - 1
        else:
            y = x * 2 - 1
        return y * times


ROWS = torch.linspace(-2, 2, 8).reshape(2, 4)
WHOLE = {
    "state": (Kept, (ROWS,)),
    "constants": (lambda: Attributes(bias=True), (ROWS,)),
    "recurrent layers": (ShortLayers, (ROWS.repeat(3, 1, 1), None)),
    "dictionaries": (Texts, (ROWS,)),
    "loops": (Rounds, (ROWS, 5)),
    "branches": (Branches, (ROWS, 3)),
    "quantised": (quantised, (ROWS.reshape(1, 1, 2, 4),)),
}


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    some_long([*WHOLE, *PROGRAMS], ["state", "recurrent layers", "dictionaries", "counting", "branches", "quantised"]),
)
def test_torchscript(tmp_path: Path, name: str) -> None:
    kind, inputs = {**PROGRAMS, **WHOLE}[name]
    script = torch.jit.script(kind().eval())
    original = copy.deepcopy(script)
    compiled = tp.compile(script, list(inputs), min_block_size=1)
    assert compiled.report.verdicts["trt"]
    found = run(compiled, inputs, tmp_path, calls=4)
    for result in found:
        expected = original(*copy.deepcopy(inputs))
        first, second = pytree.tree_leaves(result), pytree.tree_leaves(expected)
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


class FourBits(nn.Module):
    """Products with weights in whole numbers of four bits and in NVFP4: [..., 256] -> [..., 256]."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(256, 256) / 16
        scale = weight.view(256, 2, 128).abs().amax(2) / 7
        self.register_buffer("data", QUANTIZE(weight, scale, None, -8, 7, torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("other", torch.randn(256, 256).half() / 16)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(nn.functional.linear(x, DEQUANTIZE(self.data, self.scale, None, x.dtype)))
        return nn.functional.linear(x, fake_nvfp4(self.other, 16, self.other.abs().amax()))


@pytest.mark.parametrize("wanted", ["small", pytest.param("fast", marks=pytest.mark.long)])
def test_weights_in_four_bits(tmp_path: Path, wanted: str) -> None:
    torch.manual_seed(0)
    model, x = FourBits(), torch.randn(3, 256).half()
    compiled = tp.compile(model, [x], min_block_size=1, quantised_weights=wanted)
    assert [row.op for row in compiled.report.ledger].count("trt_passes.dequantize_packed") == 2
    tp.save(compiled, tmp_path / "four.ts")
    (found,) = run_file(tmp_path / "four.ts", (x,), tmp_path)
    torch.testing.assert_close(found, compiled(x), rtol=1e-2, atol=1e-2)


class Counted(nn.Module):
    """Two engines with an operator of PyTorch's between them, and a buffer that every call writes to."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.add_(1)
        return self.b(torch.special.i0(torch.relu(self.a(x)))) * self.calls, x + 1


@torch.no_grad()
@pytest.mark.long
def test_packages_of_aotinductor(tmp_path: Path) -> None:
    model = Counted().eval()
    declared = torch_tensorrt.Input(min_shape=(1, 4), opt_shape=(2, 4), max_shape=(8, 4))
    compiled = torch_tensorrt.compile(model, inputs=[declared], min_block_size=1)
    torch_tensorrt.save(compiled, tmp_path / "model.pt2", output_format="aot_inductor")  # it knows its inputs
    for rows in (1, 2, 8):
        again, x = copy.deepcopy(model), torch.randn(rows, 4)
        for found in run_file(tmp_path / "model.pt2", (x,), tmp_path, calls=2):
            torch.testing.assert_close(tuple(found), again(x), rtol=1e-4, atol=1e-4)


def test_what_only_python_has(tmp_path: Path) -> None:
    engine = tp.convert_to_engine(nn.Linear(4, 4).eval(), [ROWS])
    torch.jit.save(tp.embed_engine_in_new_module(engine), tmp_path / "model.ts")
    torch.save((ROWS,), tmp_path / "inputs.pt")
    files = [str(tmp_path / name) for name in ("model.ts", "inputs.pt", "results.pt")]
    done = subprocess.run([str(example()), *files], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "this engine has no PyTorch graph to run without TensorRT" in done.stderr
    done = subprocess.run([str(example())], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[:6]) == (1, "usage:")
