"""What an installation contains: every folder with modules is listed in pyproject.toml, and importing stays cheap."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for part in ("compiler", "passes", "visualize") for path in (ROOT / part).rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)
    names = [".".join(("trt_passes", *folder.relative_to(ROOT).parts)) for folder in folders]
    assert sorted(listed) == sorted(["trt_passes", *names])


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, trt_passes\n"
        "assert not {'torch', 'tensorrt', 'tensorrt_rtx', 'networkx'} & set(sys.modules)\n"
        "import trt_passes.compiler.api, trt_passes.compiler.pipeline\n"
        "trt_passes.compiler.pipeline.known_passes()\n"
        "assert not {'tensorrt', 'tensorrt_rtx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_can_be_imported() -> None:
    import trt_passes

    for name in trt_passes.__all__:
        assert getattr(trt_passes, name) is not None
    assert sorted(trt_passes.__all__) == trt_passes.__all__
