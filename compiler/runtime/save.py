"""Save a compiled program as a standard `.pt2` archive, and load it on another machine."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule

from ..errors import UserError, did_you_mean
from ..settings import Executor
from .compiled_module import SPLICED, compiled_module, segments_of

SCHEMA = 1
"""Version of what this release writes besides the archive that torch.export defines."""

_EXTRA_FILE = "trt_passes.json"
_EXECUTORS = ("auto", "tensorrt", "pytorch")


def save(compiled: torch.nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a compiled module to a `.pt2` file: engines, weights (once), and the PyTorch graph of every segment.

    The file is written beside its place and then renamed, so it is there whole or not at all. `torch.export.load`
    reads it too, once `trt_passes` is imported.

    Raises:
        UserError: the module was not compiled by this package, or the file cannot be written.
    """
    spliced = compiled.meta.get(SPLICED) if isinstance(compiled, GraphModule) else None
    if spliced is None:
        raise UserError(
            f"only a compiled module can be saved, not a {type(compiled).__name__}: pass what tp.compile returned."
        )
    assert isinstance(compiled, GraphModule)
    target = Path(path)
    record = {"schema": SCHEMA, "executor": _executor_of(compiled), "report": _report_of(compiled)}
    exported, extra = _current(spliced, compiled), {_EXTRA_FILE: json.dumps(record)}
    try:
        # A folder, so that the file has its own name from the start: torch.export writes it into the archive.
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            torch.export.save(exported, Path(folder) / target.name, extra_files=extra)
            (Path(folder) / target.name).replace(target)
    except (OSError, RuntimeError) as error:
        # PyTorch's archive writer reports a full disk as a RuntimeError.
        raise UserError(f"cannot write {target}: {getattr(error, 'strerror', None) or error}.") from error


def load(path: str | os.PathLike[str], executor: Executor | None = None) -> GraphModule:
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
    record = _record(source)
    try:
        exported = torch.export.load(source)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{source} cannot be read by PyTorch {torch.__version__} ({reason}): save it again.") from error
    compiled = compiled_module(exported, {}, executor or record["executor"])
    compiled.report = record["report"]
    return compiled


def _record(source: Path) -> dict[str, Any]:
    if not source.is_file():
        raise UserError(f"{source} does not exist: give the file that tp.save wrote.")
    try:
        with zipfile.ZipFile(source) as archive:
            name = next((name for name in archive.namelist() if name.endswith(f"extra/{_EXTRA_FILE}")), None)
            text = None if name is None else archive.read(name)
    except zipfile.BadZipFile as error:
        raise UserError(f"{source} is no .pt2 file, or is truncated: give the file that tp.save wrote.") from error
    if text is None:
        raise UserError(f"{source} is no compiled program: give what tp.save wrote, or compile it first.")
    try:
        record = json.loads(text)
        schema = record["schema"]
        known = {"executor": record["executor"], "report": record["report"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{source} is damaged ({error!r} in {_EXTRA_FILE}): save it again.") from error
    if schema > SCHEMA:
        raise UserError(
            f"{source} was saved with schema {schema}, but this release of trt-passes reads up to {SCHEMA}: upgrade it."
        )
    return known


def _current(spliced: ExportedProgram, compiled: GraphModule) -> ExportedProgram:
    """The spliced program with the tensors that the module has now: it may have been moved, or changed buffers."""
    tensors = _tensors(compiled)
    state = {name: tensors.get(name, tensor) for name, tensor in spliced.state_dict.items()}
    lifted = {
        str(spec.target)
        for spec in spliced.graph_signature.input_specs
        if spec.kind in (InputKind.CONSTANT_TENSOR, InputKind.BUFFER)
    }
    constants = {
        name: tensors.get(name, value) if name in lifted else value for name, value in spliced.constants.items()
    }
    return ExportedProgram(
        root=spliced.graph_module,
        graph=spliced.graph,
        graph_signature=spliced.graph_signature,
        state_dict=state,
        range_constraints=spliced.range_constraints,
        module_call_graph=spliced.module_call_graph,
        # Data of the user's, and possibly large.
        example_inputs=None,
        constants=constants,
        verifiers=spliced.verifiers,
    )


def _tensors(compiled: GraphModule) -> Mapping[str, torch.Tensor]:
    segments = segments_of(compiled)
    found: dict[str, torch.Tensor] = {}
    for path, module in compiled.named_modules():
        if path.split(".")[0] not in segments:
            prefix = f"{path}." if path else ""
            found |= {f"{prefix}{name}": item for name, item in module.named_parameters(recurse=False)}
            found |= {f"{prefix}{name}": item for name, item in module.named_buffers(recurse=False)}
    for segment in segments.values():
        found |= segment.named_constants()
    return found


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
