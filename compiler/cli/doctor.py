"""The command `trt-passes doctor`: what this machine has and can do, and what installs what it lacks."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Literal

import click
import torch

from ... import __version__
from ...visualize.render import layout_command
from ..api import compile
from ..errors import UserError
from ..tensorrt.loader import TensorRT, TensorRTNotFound, load
from .tables import Titled, print_tables

State = Literal["ok", "missing", "failed", "optional"]

RTX = "pip install tensorrt-rtx-cu13==1.6.1.120"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        state: "missing" and "failed" keep models from being compiled or engines from running; "optional" is missing,
            and only what `detail` says needs it.
        detail: its version, or what is the case.
        remedy: the command that mends it; "" if there is nothing to mend, or no command does.
    """

    what: str
    state: State
    detail: str
    remedy: str = ""


def doctor(as_json: bool) -> None:
    """Print what was found.

    Raises:
        UserError: models cannot be compiled here.
    """
    found = list(findings())
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], indent=1, ensure_ascii=False))
    else:
        rows = [(item.what, item.state, item.detail) for item in found]
        remedies = [f"{item.what}: {item.remedy}" for item in found if item.remedy]
        print_tables([Titled(_verdict(found), ("what", "state", "detail~"), rows)], remedies)
    broken = [item.what for item in found if item.what in ("TensorRT", "build an engine") and item.state != "ok"]
    if broken:
        raise UserError(f"models cannot be compiled here: {' and '.join(broken)} did not work.")


def findings() -> Iterator[Finding]:
    """Everything that is looked at, in an order in which each needs those before it."""
    yield Finding("trt-passes", "ok", __version__)
    yield Finding("Python", "ok", f"{platform.python_version()} ({sys.executable})")
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    yield Finding("PyTorch", "ok", f"{torch.__version__}, {cuda}")
    yield _gpu()
    library = _library()
    yield _tensorrt(library)
    if isinstance(library, TensorRT):
        yield from _trial(library)
    yield _graphviz()
    for package, purpose in _OPTIONAL.items():
        yield _package(package, purpose)


_OPTIONAL = {
    "transformers": "language models: trt_passes.transformers",
    "pandas": "reports as data frames: report.to_pandas()",
}
"""What else can be installed, and what needs it."""


def _gpu() -> Finding:
    if torch.cuda.is_available():
        names = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            size = properties.total_memory / 2**30
            names.append(f"{properties.name}, compute capability {properties.major}.{properties.minor}, {size:.0f} GiB")
        return Finding("GPU", "ok", "; ".join(names))
    if torch.version.cuda is None:
        text = "this PyTorch has no CUDA: engines can be built, and run in PyTorch (executor=auto)"
        return Finding("GPU", "optional", text, "pip install torch --index-url https://download.pytorch.org/whl/cu130")
    return Finding("GPU", "optional", "none is visible: engines can be built, and run in PyTorch (executor=auto)")


def _library() -> TensorRT | UserError:
    try:
        return load()
    except TensorRTNotFound as error:
        return error


def _tensorrt(library: TensorRT | UserError) -> Finding:
    if not isinstance(library, TensorRT):
        if "cannot be imported" in str(library):
            return Finding("TensorRT", "failed", str(library), RTX.replace("install", "install --force-reinstall"))
        return Finding("TensorRT", "missing", str(library), RTX)
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    if capability == (9, 0) and not library.supports_hopper:
        return Finding("TensorRT", "failed", f"{library} does not run on compute capability 9.0", RTX)
    return Finding("TensorRT", "ok", str(library))


def _trial(library: TensorRT) -> Iterator[Finding]:
    """Compile and run a small model."""
    gpu = torch.cuda.is_available()
    if not (gpu or library.builds_without_gpu):
        text = f"{library} builds on a machine with a GPU only"
        yield Finding("build an engine", "failed", text, RTX)
        return
    model, x = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU()).eval(), torch.ones(2, 8)
    model, x = (model.cuda(), x.cuda()) if gpu else (model, x)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            executor = "tensorrt" if gpu else "reference"
            compiled = compile(model, [x], min_block_size=1, executor=executor, pass_through_build_failures=True)
    except Exception as error:
        yield Finding("build an engine", "failed", f"{type(error).__name__}: {error}")
        return
    yield Finding("build an engine", "ok", f"{sum(s.build_seconds or 0.0 for s in compiled.report.segments):.1f} s")
    if not gpu:
        yield Finding("run an engine", "optional", "needs a GPU; compiled models run in PyTorch here")
        return
    try:
        with torch.no_grad():
            distance = float((compiled(x) - model(x)).abs().max())
    except Exception as failure:
        yield Finding("run an engine", "failed", f"{type(failure).__name__}: {failure}")
        return
    state: State = "ok" if distance < 1e-2 else "failed"
    yield Finding("run an engine", state, f"largest difference from PyTorch {distance:.1e}")


def _graphviz() -> Finding:
    command = layout_command()
    if command is None:
        text = "dot is not on PATH: pictures are laid out in the browser"
        return Finding("Graphviz", "optional", text, "apt-get install graphviz, or pip install pygraphviz")
    return Finding("Graphviz", "ok", command[0])


def _package(name: str, purpose: str) -> Finding:
    if find_spec(name) is None:
        return Finding(name, "optional", purpose, f"pip install {name}")
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "ok", "of unknown version")


def _verdict(found: list[Finding]) -> str:
    states = {item.what: item.state for item in found}
    if states["TensorRT"] != "ok" or states.get("build an engine") != "ok":
        return "models cannot be compiled here"
    if states.get("run an engine") == "ok":
        return "models can be compiled here, and run in TensorRT"
    return "models can be compiled here; their engines need a GPU, and run in PyTorch without one"
