"""Save a compiled program as a standard `.pt2` archive, and load it on another machine."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule
from torch.fx.node import map_arg

from ..errors import UserError, did_you_mean
from ..settings import Executor
from .compiled_module import SPLICED, CompiledModule, compiled_module, current_program, segments_of

SCHEMA = 1
"""Version of what this release writes besides the archive that torch.export defines."""

_EXTRA_FILE = "trt_passes.json"
_EXECUTORS = ("auto", "tensorrt", "pytorch")


def save(compiled: torch.nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a compiled module to a `.pt2` file: engines, weights (once), and the PyTorch graph of every segment.

    The file is written beside its place and then renamed, so it is there whole or not at all. `torch.export.load`
    reads it too, once `trt_passes` is imported.

    Raises:
        UserError: the module was not compiled by this package, its graph was edited, or the file cannot be written.
    """
    spliced = compiled.meta.get(SPLICED) if isinstance(compiled, GraphModule) else None
    if spliced is None:
        raise UserError(
            f"only a compiled module can be saved, not a {type(compiled).__name__}: pass what tp.compile returned."
        )
    assert isinstance(compiled, GraphModule)
    target = Path(path)
    exported, extra = _contents(spliced, compiled)
    try:
        # A folder, so that the file has its own name from the start: torch.export writes it into the archive.
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            torch.export.save(exported, Path(folder) / target.name, extra_files=extra)
            (Path(folder) / target.name).replace(target)
    except (OSError, RuntimeError) as error:
        # PyTorch's archive writer reports a full disk as a RuntimeError.
        raise UserError(f"cannot write {target}: {getattr(error, 'strerror', None) or error}.") from error


def load(path: str | os.PathLike[str], executor: Executor | None = None) -> CompiledModule:
    """Read what `save` wrote. The module runs on any machine: where its engines cannot, segments run in PyTorch.

    Args:
        path: the `.pt2` file.
        executor: "auto", "tensorrt" or "pytorch"; by default what the module was saved with.

    Returns:
        A module called like the model. `report` on it is the object that `run.json` holds.

    Raises:
        UserError: the file is missing, damaged, no compiled program, or written by a newer release.
    """
    if executor is not None and executor not in _EXECUTORS:
        needs = " It needs the process that compiled."
        hint = needs if executor == "reference" else did_you_mean(executor, _EXECUTORS)
        raise UserError(f"a loaded program cannot use executor {executor!r}.{hint}")
    source = Path(path)
    if not source.is_file():
        raise UserError(f"{source} does not exist: give the file that tp.save wrote.")
    return _loaded(source, str(source), executor)


def to_bytes(compiled: CompiledModule) -> bytes:
    """What `save` would write to a file."""
    exported, extra = _contents(compiled.meta[SPLICED], compiled)
    buffer = io.BytesIO()
    torch.export.save(exported, buffer, extra_files=extra)
    return buffer.getvalue()


def from_bytes(data: bytes) -> CompiledModule:
    """The module that `load` would read from a file with these bytes."""
    return _loaded(io.BytesIO(data), "the pickled program", None)


def _contents(spliced: ExportedProgram, compiled: GraphModule) -> tuple[ExportedProgram, dict[str, str]]:
    if _form(compiled.graph) != _form(spliced.module(check_guards=False).graph):
        raise UserError(
            "the graph of this compiled module was edited, and only what was compiled can be saved: use "
            "torch.export.save(torch.export.export(compiled, args), path), or edit the model and compile it again."
        )
    record = {"schema": SCHEMA, "executor": _executor_of(compiled), "report": _report_of(compiled)}
    return current_program(spliced, compiled), {_EXTRA_FILE: json.dumps(record)}


def _form(graph: Graph) -> list[tuple[str, str, str]]:
    """What a graph computes, whatever its nodes are called."""
    number = {node: index for index, node in enumerate(graph.nodes)}
    targets = ["" if node.op == "placeholder" else str(node.target) for node in graph.nodes]
    operands = [str(map_arg((node.args, node.kwargs), lambda item: number[item])) for node in graph.nodes]
    return list(zip((node.op for node in graph.nodes), targets, operands, strict=True))


def _loaded(source: Path | io.BytesIO, name: str, executor: Executor | None) -> CompiledModule:
    record = _record(source, name)
    if isinstance(source, io.BytesIO):
        source.seek(0)
    try:
        exported = torch.export.load(source)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{name} cannot be read by PyTorch {torch.__version__} ({reason}): save it again.") from error
    compiled = compiled_module(exported, {}, executor or record["executor"])
    setattr(compiled, "report", record["report"])  # noqa: B010  (nn.Module declares its attributes as tensors)
    return compiled


def _record(source: Path | io.BytesIO, name: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(source) as archive:
            entry = next((item for item in archive.namelist() if item.endswith(f"extra/{_EXTRA_FILE}")), None)
            text = None if entry is None else archive.read(entry)
    except zipfile.BadZipFile as error:
        raise UserError(f"{name} is no .pt2 file, or is truncated: give the file that tp.save wrote.") from error
    if text is None:
        raise UserError(f"{name} is no compiled program: give what tp.save wrote, or compile it first.")
    try:
        record = json.loads(text)
        schema = record["schema"]
        known = {"executor": record["executor"], "report": record["report"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{name} is damaged ({error!r} in {_EXTRA_FILE}): save it again.") from error
    if schema > SCHEMA:
        raise UserError(
            f"{name} was saved with schema {schema}, but this release of trt-passes reads up to {SCHEMA}: upgrade it."
        )
    return known


def _executor_of(compiled: GraphModule) -> str:
    executors = {segment.executor for segment in segments_of(compiled).values()}
    chosen = executors.pop() if len(executors) == 1 else "auto"
    # The reference executor needs the networks, which stay in this process.
    return "auto" if chosen == "reference" else chosen


def _report_of(compiled: GraphModule) -> dict[str, Any]:
    report = getattr(compiled, "report", None)
    if isinstance(report, dict):
        return report
    found: dict[str, Any] = report.to_json() if report is not None else {}
    return found
