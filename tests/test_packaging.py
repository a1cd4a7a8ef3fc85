"""What an installation contains: every folder with modules is listed in pyproject.toml, and importing stays cheap."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from trt_passes.compiler.runtime.after_import import after_import

ROOT = Path(__file__).parents[1]
PARTS = ("compiler", "debug", "generation", "passes", "tuning", "visualize")


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for part in PARTS for path in (ROOT / part).rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)
    names = [".".join(("trt_passes", *folder.relative_to(ROOT).parts)) for folder in folders]
    assert sorted(listed) == sorted(["trt_passes", *names])


def test_every_data_file_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    shipped = {
        path
        for package, patterns in listed.items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }
    there = {
        path
        for part in PARTS
        for path in (ROOT / part).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert there - shipped == set()
    assert ROOT / "compiler" / "cli" / "catalog.json" in shipped


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, trt_passes\n"
        "assert not {'torch', 'tensorrt', 'tensorrt_rtx', 'networkx'} & set(sys.modules)\n"
        "import trt_passes.compiler.api, trt_passes.compiler.pipeline\n"
        "trt_passes.compiler.pipeline.known_passes()\n"
        "assert not {'tensorrt', 'tensorrt_rtx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_small_model_does_not_wait_for_what_it_does_not_use() -> None:
    code = (
        "import sys, torch, trt_passes as tp\n"
        "tp.compile(torch.nn.Linear(8, 8).eval(), [torch.ones(2, 8)], min_block_size=1)\n"
        "print(*(name for name in sys.modules if name.startswith('trt_passes.')))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("trt_passes.").removeprefix("compiler.") for name in done.stdout.split()}
    rooms = ("cli", "compat", "debug", "generation", "instruments.dump", "runtime.saving.save", "tensorrt.executor")
    unused = (*rooms, "ir.partition_file", "ir.tuning", "runtime.cuda_graphs.cuda_graphs", "tuning", "visualize")
    rewriting = ("complex.rules", "few_rows", "quantised_products", "settled_steps", "stored_weights")
    unused = (*unused, *(f"passes.lower.{name}" for name in rewriting))
    assert {name for name in loaded if name.startswith(tuple(unused))} == set()


def test_the_operator_is_there_whichever_is_imported_first() -> None:
    code = (
        "import importlib.util, sys, trt_passes\n"
        "assert importlib.util.find_spec('torch').loader.get_filename('torch').endswith('.py')\n"
        "assert 'torch' not in sys.modules\n"
        "import torch\n"
        "assert torch.ops.trt_passes.execute_engine.default\n"
        "assert type(torch.__loader__) is type(torch.__spec__.loader) is type(torch.nn.__loader__)\n"
        "assert not any('trt_passes' in type(finder).__module__ for finder in sys.meta_path)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "module", ["compiler.ir.operators", "compiler.ir.engine_operator", "compiler.runtime.operator"]
)
def test_the_operators_are_there_whatever_imports_pytorch(module: str) -> None:
    code = (
        f"import trt_passes.{module}, torch\n"
        "ops = torch.ops.trt_passes\n"
        "assert ops.share_no_memory([], [], [])\n"
        "key = 'CompositeExplicitAutograd'\n"
        "assert torch._C._dispatch_has_kernel_for_dispatch_key('trt_passes::execute_engine', key)\n"
        "assert ops.write_rows(torch.zeros(1, 1, 3, 2), torch.ones(1, 1, 1, 2), torch.tensor([2])).sum() == 2"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_module_that_cannot_be_imported_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    called: list[str] = []
    after_import("imported_later", lambda: called.append("imported"))
    for text, error in ((None, ImportError), ("1 / 0", ZeroDivisionError)):
        if text is not None:
            (tmp_path / "imported_later.py").write_text(text)
        importlib.invalidate_caches()
        with pytest.raises(error):
            importlib.import_module("imported_later")
    (tmp_path / "imported_later.py").write_text("value = 12345")
    importlib.invalidate_caches()
    assert importlib.import_module("imported_later").value == 12345
    assert called == ["imported"]
    del sys.modules["imported_later"]


def test_every_public_name_can_be_imported() -> None:
    import trt_passes

    for name in trt_passes.__all__:
        assert getattr(trt_passes, name) is not None
    assert sorted(trt_passes.__all__) == trt_passes.__all__


def test_dir_holds_public_names_only() -> None:
    import trt_passes as tp

    assert set(dir(tp)) == {*tp.__all__, "__version__"}
    assert all(getattr(tp, name) is not None for name in dir(tp))
