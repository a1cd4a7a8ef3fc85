"""Which TensorRT is found, what is said when none is, and the questions whose answers differ between releases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from trt_passes.compiler.tensorrt import loader


def fake_module(name: str, version: str, **names: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(__version__=version, **names)
    return module


Installer = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    """Make exactly the given modules importable under their names; None makes an import fail."""

    def install(**modules: ModuleType | None) -> None:
        for name in ("tensorrt", "tensorrt_rtx"):
            monkeypatch.setitem(sys.modules, name, modules.get(name))
        loader.load.cache_clear()

    yield install
    monkeypatch.undo()
    loader.load.cache_clear()


def test_importing_the_package_does_not_import_tensorrt() -> None:
    code = (
        "import sys, trt_passes.compiler.tensorrt.executor, trt_passes.compiler.tensorrt.dtypes;"
        "print([name for name in sys.modules if name.startswith(('tensorrt', 'tensorrt_rtx'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_rtx_is_preferred_unless_asked_otherwise(install: Installer) -> None:
    install(tensorrt=fake_module("tensorrt", "10.16.1"), tensorrt_rtx=fake_module("tensorrt_rtx", "1.6.1.120"))
    assert str(loader.load()) == "TensorRT-RTX 1.6.1.120"
    assert loader.load("tensorrt").flavor == "tensorrt"
    assert loader.load("tensorrt").release == (10, 16, 1)
    assert loader.load("tensorrt_rtx") == loader.load()


def test_standard_tensorrt_alone_is_found(install: Installer) -> None:
    install(tensorrt=fake_module("tensorrt", "11.2.0.dev1"))
    found = loader.available()
    assert found is not None
    assert (found.flavor, found.release, str(found)) == ("tensorrt", (11, 2, 0), "TensorRT 11.2.0.dev1")


def test_nothing_installed(install: Installer) -> None:
    install()
    assert loader.available() is None
    with pytest.raises(loader.TensorRTNotFound) as error:
        loader.load()
    assert 'pip install "trt-passes[rtx]"` or `pip install "trt-passes[tensorrt]"' in str(error.value)
    with pytest.raises(ImportError, match=r"tensorrt is not installed: `pip install \"trt-passes\[tensorrt\]\"`$"):
        loader.load("tensorrt")


def test_broken_installation_is_not_called_a_missing_one(
    install: Installer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    (tmp_path / "tensorrt_rtx.py").write_text("raise OSError('libnvinfer.so: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "tensorrt_rtx")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(loader.TensorRTNotFound, match=r"installed but cannot be imported: libnvinfer\.so"):
        loader.load()


def test_unknown_flavour() -> None:
    with pytest.raises(ValueError, match="unknown TensorRT flavour 'trt'"):
        loader.load("trt")


@pytest.mark.parametrize("bit", [0, 1])
def test_strongly_typed_flag_is_asked_for(bit: int) -> None:
    module = fake_module("tensorrt", "10.16", NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=bit))
    asked: list[int] = []
    builder = SimpleNamespace(create_network=lambda flags: asked.append(flags) or "network")
    assert loader.TensorRT(module, "tensorrt", "10.16").create_network(builder) == "network"
    assert asked == [1 << bit]


def test_refused_network_is_an_error() -> None:
    module = fake_module("tensorrt", "10.16", NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1))
    builder = SimpleNamespace(create_network=lambda flags: None)
    with pytest.raises(RuntimeError, match=r"TensorRT 10\.16 did not create a strongly typed network"):
        loader.TensorRT(module, "tensorrt", "10.16").create_network(builder)


class OldDims:
    """Unset dims up to TensorRT 11.1: nbDims is -1, and the length cannot be taken."""

    def __len__(self) -> int:
        raise ValueError("__len__() should return >= 0")

    def __getitem__(self, index: int) -> int:
        raise IndexError("what iterates over these takes them for empty")


class InvalidTensor:
    @property
    def shape(self) -> tuple[int, ...]:
        raise RuntimeError("Could not get tensor shape.")


def test_unset_dims_of_old_and_new_releases() -> None:
    assert loader.dims_or_none(None) is None
    assert loader.dims_or_none(OldDims()) is None
    assert loader.dims_or_none(()) == ()
    assert loader.dims_or_none((2, -1)) == (2, -1)


def test_shape_of_invalid_tensors_of_old_and_new_releases() -> None:
    assert loader.tensor_shape(InvalidTensor()) is None
    assert loader.tensor_shape(SimpleNamespace(shape=OldDims())) is None
    assert loader.tensor_shape(SimpleNamespace(shape=(3, -1))) == (3, -1)


def test_facts_of_the_installed_release(trt: loader.TensorRT) -> None:
    assert trt.has_layer("add_attention")
    assert not trt.has_layer("add_sort")
    assert trt.is_rtx == (not trt.has_plugins)
    assert trt.supports_compute_capabilities == trt.is_rtx
    assert trt.can_build_nonzero == (not trt.is_rtx)
    assert trt.can_build_refittable == (trt.release[:2] != (1, 6))
    builder = trt.module.Builder(trt.module.Logger(trt.module.Logger.ERROR))
    network = trt.create_network(builder)
    assert network.get_flag(trt.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


@pytest.mark.parametrize(
    ("flavor", "version", "hopper"),
    [("tensorrt_rtx", "1.6.1.120", True), ("tensorrt_rtx", "1.7.1.116", False), ("tensorrt", "11.4", True)],
)
def test_releases_that_run_on_hopper(flavor: Any, version: str, hopper: bool) -> None:
    assert loader.TensorRT(ModuleType(flavor), flavor, version).supports_hopper == hopper


def test_dims_read_back_from_a_real_network(trt: loader.TensorRT) -> None:
    network = trt.create_network(trt.module.Builder(trt.module.Logger(trt.module.Logger.INTERNAL_ERROR)))
    x = network.add_input("x", trt.module.DataType.FLOAT, (-1, 3))
    assert loader.tensor_shape(x) == (-1, 3)
    assert loader.dims_or_none(network.add_shuffle(x).reshape_dims) is None
    none = trt.module.MatrixOperation.NONE
    y = network.add_input("y", trt.module.DataType.FLOAT, (4, 5))
    assert loader.tensor_shape(network.add_matrix_multiply(x, none, y, none).get_output(0)) is None
