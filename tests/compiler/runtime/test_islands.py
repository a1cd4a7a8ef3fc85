"""What stays in PyTorch, compiled by Inductor; most tests replace Inductor by a backend that compiles nothing."""

from __future__ import annotations

import copy
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.runtime.island_packages import Target
from trt_passes.compiler.runtime.islands import ISLANDS

from tests.models import Counter, NonZero, seeded


class Between(nn.Module):
    """Two engines with operators between them that stay in PyTorch: x f32[B,8] -> f32[B,8]."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.full((8,), 2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x)).sort(-1)
        z = (y.values * self.scale + y.indices).cumsum(-1)
        return self.second(z).tanh()


X = torch.randn(2, 8)
OPTIONS: dict[str, Any] = {
    "min_block_size": 1,
    "executor": "reference",
    "torch_executed_ops": {"aten.sort", "aten.mul", "aten.add", "aten.cumsum"},
}


@pytest.fixture
def compiled_parts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that would be given to Inductor."""
    seen: list[Any] = []

    def fake(graph: Any, backend: str) -> Any:
        assert backend == "inductor"
        seen.append(graph)
        return graph

    def load(path: str, run_single_threaded: bool) -> Any:
        assert run_single_threaded
        return torch.export.load(path).module()

    monkeypatch.setattr(torch, "compile", fake)
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", _exported)
    monkeypatch.setattr(torch._inductor, "aoti_load_package", load)
    return seen


def islands_of(module: Any) -> dict[str, Any]:
    return vars(getattr(module, ISLANDS))


def test_operators_between_engines_are_one_island(compiled_parts: list[Any]) -> None:
    model = seeded(Between())
    module = tp.compile(model, [tp.Input.parse("1..2..4x8")], islands="inductor", **OPTIONS)
    for batch in (1, 2, 4):
        x = torch.randn(batch, 8)
        torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)
    (part,) = compiled_parts
    names = [str(node.target) for node in part.graph.nodes if node.op == "call_function"]
    assert [name for name in names if name.startswith("aten")] == [
        "aten.sort.default",
        "aten.mul.Tensor",
        "aten.add.Tensor",
        "aten.cumsum.default",
    ]
    assert list(islands_of(module)) == ["island_00"]


def test_eager_is_the_default_and_can_be_changed_later(compiled_parts: list[Any]) -> None:
    model, x = seeded(Between()), torch.randn(2, 8)
    module = tp.compile(model, [x], **OPTIONS)
    module(x)
    assert compiled_parts == []
    with module.with_options(islands="inductor"):
        torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)
        assert len(compiled_parts) == 1
    module(x)
    assert len(compiled_parts) == 1
    with pytest.raises(tp.UserError, match="option 'islands' is 'inductr'"):
        tp.compile(model, [x], islands="inductr", **OPTIONS)


def test_saved_copied_and_changed_modules(compiled_parts: list[Any], tmp_path: Path) -> None:
    model, x = seeded(Between()), torch.randn(2, 8)
    module = tp.compile(model, [x], islands="inductor", **OPTIONS)
    tp.save(module, tmp_path / "m.pt2")
    loaded = tp.load(tmp_path / "m.pt2", executor="pytorch")
    for other in (loaded, copy.copy(module), copy.deepcopy(module)):
        torch.testing.assert_close(other(x), model(x), rtol=1e-4, atol=1e-5)
    assert loaded.options.islands == "inductor"
    with torch.no_grad():
        model.scale.mul_(3.0)  # a weight that no engine holds
    torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)


def _exported(exported: Any, package_path: str) -> str:
    torch.export.save(exported, package_path)
    return package_path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with packages, which another backend than Inductor made."""
    path = tmp_path_factory.mktemp("islands") / "m.pt2"
    module = tp.compile(seeded(Between()), [X], islands="inductor", **OPTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch._inductor, "aoti_compile_and_package", _exported)
        tp.save(module, path)
    return path


def test_a_file_has_the_code_of_its_islands(saved: Path, compiled_parts: list[Any]) -> None:
    model, module = seeded(Between()), tp.load(saved, trust=True, executor="pytorch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(module(X), model(X), rtol=1e-4, atol=1e-5)
    assert compiled_parts == []
    assert [island.ahead for island in islands_of(module).values()] == [True]
    twin = copy.deepcopy(module)
    torch.testing.assert_close(twin(X), model(X), rtol=1e-4, atol=1e-5)
    assert compiled_parts == []


def test_code_of_a_file_that_is_not_trusted_does_not_run(saved: Path, compiled_parts: list[Any]) -> None:
    module = tp.load(saved, executor="pytorch")
    torch.testing.assert_close(module(X), seeded(Between())(X), rtol=1e-4, atol=1e-5)
    assert len(compiled_parts) == 1
    assert [island.ahead for island in islands_of(module).values()] == [False]


def test_code_for_another_machine_warns_once_and_is_compiled_here(
    saved: Path, compiled_parts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Target, "here", lambda device: Target(device, "another", "9.9"))
    module = tp.load(saved, trust=True, executor="pytorch")
    with pytest.warns(RuntimeWarning, match=r"it was compiled for \S+ with PyTorch .*, and this is another with"):
        found = module(X)
    torch.testing.assert_close(found, seeded(Between())(X), rtol=1e-4, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module(X)
    assert len(compiled_parts) == 1


def test_code_that_cannot_be_made_is_not_in_the_file(
    compiled_parts: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tp.compile(seeded(Between()), [tp.Input.parse("1..2..4x8")], islands="inductor", **OPTIONS)
    tp.save(module, tmp_path / "dynamic.pt2")  # its code would hold for one size
    module = tp.compile(seeded(Between()), [X], islands="inductor", **OPTIONS)

    def failing(exported: Any, package_path: str) -> str:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", failing)
    with pytest.warns(RuntimeWarning, match="is not in the file as compiled code: no compiler here"):
        tp.save(module, tmp_path / "failed.pt2")
    for name in ("dynamic", "failed"):
        loaded = tp.load(tmp_path / f"{name}.pt2", trust=True, executor="pytorch")
        torch.testing.assert_close(loaded(X), seeded(Between())(X), rtol=1e-4, atol=1e-5)
        assert [island.ahead for island in islands_of(loaded).values()] == [False]


@pytest.mark.parametrize("model", [Counter(), NonZero()])
def test_state_and_sizes_of_values(model: nn.Module, compiled_parts: list[Any]) -> None:
    x = torch.linspace(-1, 1, 8 if isinstance(model, NonZero) else 3)
    twin = copy.deepcopy(model)
    module = tp.compile(model.eval(), [x], min_block_size=1, executor="reference", islands="inductor")
    for _ in range(2):
        torch.testing.assert_close(module(x), twin(x))


def test_what_is_random_stays_as_it_is(compiled_parts: list[Any]) -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x) + torch.rand_like(x)

    model, x = Noisy().eval(), torch.randn(4)
    module = tp.compile(model, [x], min_block_size=1, executor="reference", islands="inductor")
    torch.manual_seed(1)
    found = module(x)
    torch.manual_seed(1)
    torch.testing.assert_close(found, model(x))
    assert not any("rand" in str(node.target) for part in compiled_parts for node in part.graph.nodes)


def test_where_inductor_fails_it_runs_eagerly_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(graph: Any, backend: str) -> Any:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", failing)
    model, x = seeded(Between()), torch.randn(2, 8)
    module = tp.compile(model, [x], islands="inductor", **OPTIONS)
    with pytest.warns(RuntimeWarning, match="since Inductor fails: no compiler here"):
        torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler for the CPU")
@pytest.mark.model
def test_inductor_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model, x = seeded(Between()), torch.randn(2, 8)
    module = tp.compile(model, [x], islands="inductor", **OPTIONS)
    torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)
    assert islands_of(module)["island_00"].reason is None


@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler for the CPU")
@pytest.mark.long
def test_code_of_inductor_itself_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model, x = seeded(Between()), torch.randn(2, 8)
    tp.save(tp.compile(model, [x], islands="inductor", **OPTIONS), tmp_path / "m.pt2")
    loaded = tp.load(tmp_path / "m.pt2", trust=True, executor="pytorch")
    torch.testing.assert_close(loaded(x), model(x), rtol=1e-4, atol=1e-5)
    assert islands_of(loaded)["island_00"].ahead
