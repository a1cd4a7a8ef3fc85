"""Save a compiled program as a standard `.pt2` archive or as TorchScript, and load it on another machine."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, TypeVar

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, SymBoolArgument
from torch.fx import Graph, GraphModule
from torch.fx.node import map_arg

from ...errors import UserError, did_you_mean, first_line, on_one_line
from ...ir.collectives import Processes, collectives_in
from ...ir.containers import with_containers, with_tuples
from ...ir.held_logs import held_logs, logged_error
from ...ir.left_out import LeftOut
from ...ir.memory import with_bytes_of_its_own
from ...ir.strict_json import strict_json
from ...ir.tracing import tracing
from ...ir.weightless import weightless
from ..calls.layout import checked_layout, layouts_of, set_layouts
from ..engine_graph import SPLICED, EngineGraph, current_program
from ..measure.joins import Joins
from ..options import RuntimeOptions
from ..options_in_graph import set_options
from ..whole_file import path_of, remove_abandoned, write_archive
from .allowed import Allowed, NotAllowed
from .archive import Archive
from .island_code import ISLANDS_FILE, island_code, read_island_code
from .lean_writer import lean_writer
from .missing_operators import missing_operators
from .output_formats import save_torchscript, saved_options, torchscript_of
from .portable import on_cpu, refuse_pickles
from .program_check import SAMPLE_INPUTS, Pickled, check_archive
from .saved_report import SavedReport

Module = TypeVar("Module", bound=EngineGraph)

SCHEMA = 1
"""Version of what this release writes besides the archive that torch.export defines."""

RECORD_FILE = "trt_passes.json"
"""The extra file, in the archive, that says that this package wrote it, and how."""

_SHOWN = MappingProxyType({"exported_program": "an exported program", "torchscript": "TorchScript"})
_FORMATS = tuple(_SHOWN)
_NO_ARCHIVE = "{} is no .pt2 file, or is damaged or truncated: give the file that tp.save wrote."
_EXTRA_NAME = re.compile(r"[\w.-]+", re.ASCII)
_UNKNOWN_CONTAINER = re.compile(r"Deserializing (\S+) in pytree (?:is not registered|failed because)")


def save(
    compiled: torch.nn.Module,
    path: str | os.PathLike[str],
    output_format: str | None = None,
    *,
    extra_files: Mapping[str, str] | None = None,
) -> None:
    """Write a compiled module to a file: engines, weights (once), and the PyTorch graph of every segment.

    The file is written beside its place and then renamed, so it is there whole or not at all; what a process that ended
    has left of this, an hour ago or more, is removed. A symbolic link stays one. A program is written for
    the CPU, wherever the module is, so that it loads on every machine; move it with `.cuda()` after loading.

    Args:
        compiled: what `compile` returned; a ScriptModule is written as it is, as TorchScript.
        path: the file.
        output_format: "exported_program" is a standard `.pt2` that `load` reads, and `torch.export.load` too;
            "torchscript" is read by `torch.jit.load`. Both need `trt_passes` to be imported, which has the operator
            that runs engines. By default TorchScript if the path ends in `.ts`, else an exported program.
        extra_files: texts by name, which PyTorch's own readers give back as their `extra_files`.

    Raises:
        UserError: the module was not compiled by this package, its graph was edited, it has no form in TorchScript, or
            the file cannot be written.
    """
    target = path_of(path)
    chosen = output_format or ("torchscript" if target.suffix == ".ts" else "exported_program")
    if chosen not in _FORMATS:
        raise UserError(f"output_format is {chosen!r}.{did_you_mean(chosen, _FORMATS)}")
    write = _writer(compiled, chosen, _checked_texts(extra_files or {}))
    remove_abandoned(os.path.dirname(os.path.realpath(target)))
    try:
        write(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}.") from error
    except (RuntimeError, TypeError) as error:  # SerializeError and NotImplementedError are RuntimeErrors
        raise UserError(f"PyTorch cannot save this model as {_SHOWN[chosen]}: {first_line(error)}.") from error


def _checked_texts(texts: Mapping[str, str]) -> dict[str, str]:
    for name, text in texts.items():
        if not _EXTRA_NAME.fullmatch(str(name)) or name in (RECORD_FILE, ISLANDS_FILE) or not isinstance(text, str):
            raise UserError(
                f"extra_files has {name!r}: give texts, under names of letters, digits, dots and dashes that are not "
                f"{RECORD_FILE}."
            )
    return dict(texts)


def _writer(compiled: torch.nn.Module, chosen: str, texts: dict[str, str]) -> Callable[[Path], None]:
    """What writes a module to a path in this format; all that is wrong with the module is found before."""
    if isinstance(compiled, torch.jit.ScriptModule):
        if chosen != "torchscript":
            raise UserError(
                "a ScriptModule is saved as TorchScript: name a file that ends in .ts, or pass "
                "output_format='torchscript'; for a .pt2 file compile with ir='dynamo'."
            )
        report = getattr(compiled, "report", None)
        for part in [report, *(block.report for block in getattr(report, "blocks", ()))]:
            origin = getattr(part, "compiled", None)
            if isinstance(origin, EngineGraph):  # which shares its weights
                origin.check_weights()
        return lambda target: save_torchscript(compiled, target, texts)
    spliced = compiled.meta.get(SPLICED) if isinstance(compiled, GraphModule) else None
    if spliced is None:
        raise UserError(_why_unsaveable(compiled))
    assert isinstance(compiled, EngineGraph)
    exported, record = _contents(spliced, compiled)
    extra = {**texts, **record}
    if chosen == "torchscript":
        script = torchscript_of(compiled, spliced)
        return lambda target: save_torchscript(script, target, extra)
    _check_state(exported)
    _check_results(exported)
    extra |= island_code(compiled)
    return lambda target: write_archive(target, lambda file: _archived(exported, file, extra))


def _why_unsaveable(module: torch.nn.Module) -> str:
    if hasattr(module, "_orig_mod"):  # an OptimizedModule, whose class is in torch._dynamo, which takes long to import
        return "what torch.compile returns is compiled when it is called: save what tp.compile makes with ir='dynamo'."
    if hasattr(module, "report"):
        return "only a compiled module can be saved, and the passes that ran made no engines: compile without dryrun."
    return f"only a compiled module can be saved, not a {type(module).__name__}: pass what tp.compile returned."


def to_bytes(compiled: EngineGraph, without: Collection[str] = ()) -> bytes:
    """What `save` would write to a file, with zeros for the parameters that the file shall be `without`."""
    exported, extra = _contents(compiled.meta[SPLICED], compiled)
    _check_state(exported)
    _check_results(exported)
    if without:
        exported = weightless(exported, without)
    buffer = io.BytesIO()
    _archived(exported, buffer, extra)
    return buffer.getvalue()


def _archived(exported: ExportedProgram, file: Any, extra: dict[str, str]) -> None:
    with lean_writer():
        torch.export.save(exported, file, extra_files=extra)


def _contents(spliced: ExportedProgram, compiled: EngineGraph) -> tuple[ExportedProgram, dict[str, str]]:
    if _form(compiled.graph) != _form(spliced.module(check_guards=False).graph):
        raise UserError(
            "the graph of this compiled module was edited, and only what was compiled can be saved: use "
            "torch.export.save(torch.export.export(compiled, args), path), or edit the model and compile it again."
        )
    compiled.check_weights()
    options = saved_options(compiled)
    left_out = None if compiled.left_out is None else compiled.left_out.to_json()
    record = {"schema": SCHEMA, "options": options.to_json(), "left_out": left_out, "report": _report_of(compiled)}
    record["weights"] = dict(compiled.fingerprints)
    record["layouts"] = layouts_of(spliced)
    record["joins"] = compiled.joins.to_json()
    processes = Processes.here() if collectives_in(compiled.graph) else None
    if processes is not None:
        record["processes"] = processes.to_json()
    exported = on_cpu(current_program(spliced, compiled))
    refuse_pickles(exported)
    set_options(exported.graph, options)
    record["containers"] = with_tuples(exported)
    return exported, {RECORD_FILE: json.dumps(record)}


def _check_state(exported: ExportedProgram) -> None:
    for name, tensor in (*exported.state_dict.items(), *exported.constants.items()):
        if isinstance(tensor, torch.Tensor) and (tensor.is_meta or tensor.layout is not torch.strided):
            kind = "on the meta device, where it has no numbers" if tensor.is_meta else f"sparse ({tensor.layout})"
            raise UserError(
                f"the model's tensor {name!r} is {kind}, and PyTorch cannot write such tensors to a file: compile a "
                "model with a dense tensor in its place."
            )


def _check_results(exported: ExportedProgram) -> None:
    results = [spec.arg for spec in exported.graph_signature.output_specs]
    if not results:
        raise UserError("the model returns nothing, and PyTorch cannot write such programs: return None instead.")
    if any(isinstance(arg, SymBoolArgument) for arg in results):
        raise UserError(
            "the model returns a truth value that depends on sizes, and PyTorch cannot write programs that do: return "
            "a number or a tensor in its place, or save the model as TorchScript (a file that ends in .ts)."
        )
    texts = [arg.value for arg in results if isinstance(arg, ConstantArgument) and isinstance(arg.value, str)]
    if texts:
        raise UserError(
            f"the model returns the text {texts[0]!r}, and PyTorch cannot read programs that do: leave it out of the "
            "results, or save the model as TorchScript (a file that ends in .ts)."
        )


def _form(graph: Graph) -> list[tuple[str, str, str]]:
    """What a graph computes, whatever its nodes are called."""
    number = {node: index for index, node in enumerate(graph.nodes)}
    targets = ["" if node.op == "placeholder" else str(node.target) for node in graph.nodes]
    # A module that was moved makes its tensors elsewhere, which is no edit.
    named = [{key: value for key, value in node.kwargs.items() if key != "device"} for node in graph.nodes]
    calls = zip((node.args for node in graph.nodes), named, strict=True)
    operands = [str(map_arg(call, lambda item: number[item])) for call in calls]
    return list(zip((node.op for node in graph.nodes), targets, operands, strict=True))


def loaded(
    source: BinaryIO, name: str, options: Mapping[str, Any], allowed: Allowed, make: Callable[..., Module]
) -> Module:
    """The module in a file that `save` wrote.

    Args:
        source: the file.
        name: what errors call it.
        options: of the runtime, in place of those that the module was saved with.
        allowed: what of the file may run.
        make: `compiled_module`, which makes the module of the program that the file holds.

    Raises:
        UserError: see `load`.
    """
    record = _record(source, name, allowed)
    chosen = record["options"].updated(options)
    _check_streaming(chosen, record["streams"], name)
    if record["processes"] is not None:
        record["processes"].check_here(name)
    source.seek(0)
    # PyTorch reads one program at a time in a process. Under a default device of the user's it would not read tensors,
    # which are on the CPU; under inference mode, it would make buffers that cannot be written to outside of it.
    logs = held_logs("torch.export", "torch.export.pt2_archive._package")
    with tracing(), torch.device("cpu"), torch.inference_mode(False), logs as logged:
        try:
            exported = with_bytes_of_its_own(torch.export.load(source))
        except Exception as error:
            raise UserError(_why_unreadable(source, name, logged_error(logged) or error)) from error
    try:
        with_containers(exported, record["containers"])
        set_layouts(exported, record["layouts"])
        compiled = make(exported, {}, chosen, record["left_out"], allowed, record["weights"])
        for segment in compiled.segments.values():
            segment.runner.check_fallback()
    except UserError as error:
        raise UserError(f"{name} cannot be used: {on_one_line(error)}.") from error
    except Exception as error:  # the parts are sound, but do not fit together
        raise UserError(f"{name} is damaged ({type(error).__name__}: {on_one_line(error)}): save it again.") from error
    read_island_code(source, name, compiled, allowed)
    vars(compiled)["_joins"] = record["joins"]
    setattr(compiled, "report", SavedReport(record["report"]))  # noqa: B010  (nn.Module declares its attributes as tensors)
    return compiled


def _why_unreadable(source: BinaryIO, name: str, error: BaseException) -> str:
    with suppress(ValueError, RecursionError):
        missing = missing_operators(source)
        if missing:
            return (
                f"{name} calls {', '.join(missing)}, which PyTorch {torch.__version__} does not have in this process: "
                "import the library that defines such operators, then load again."
            )
    unknown = _UNKNOWN_CONTAINER.search(str(error))
    if unknown is not None:
        return (
            f"{name} takes or returns a {unknown[1]}, which this process does not know: import the module that defines "
            "it and registers it with PyTorch, then load again."
        )
    return f"{name} cannot be read by PyTorch {torch.__version__} ({first_line(error)}): save it again."


def _check_streaming(options: RuntimeOptions, streams: bool, name: str) -> None:
    if options.weight_streaming_budget is not None and not streams:
        raise UserError(
            f"option 'weight_streaming_budget' needs engines that stream weights, and those in {name} do not: compile "
            "with enable_weight_streaming=True, or leave it out."
        )


def _record(source: BinaryIO, name: str, allowed: Allowed) -> dict[str, Any]:
    archive = _checked(source, name, allowed)
    try:
        record = strict_json(archive.read(f"extra/{RECORD_FILE}"))
        if record["schema"] <= SCHEMA:
            return {
                "options": RuntimeOptions.from_json(record["options"]),
                "left_out": LeftOut.from_json(record.get("left_out")),
                "report": record["report"],
                "containers": dict(record.get("containers", {})),
                "joins": Joins.from_json(record.get("joins")),
                "processes": Processes.from_json(record.get("processes")),
                "weights": {str(name): str(digest) for name, digest in record.get("weights", {}).items()},
                "layouts": {str(name): checked_layout(note) for name, note in record.get("layouts", {}).items()},
                "streams": record["report"].get("settings", {}).get("enable_weight_streaming", True),
            }
    except (ValueError, KeyError, TypeError, AttributeError, UserError) as error:
        reason = on_one_line(error) if isinstance(error, UserError) else repr(error)[:300]
        raise UserError(f"{name} is damaged ({reason}, in {RECORD_FILE}): save it again.") from error
    raise UserError(
        f"{name} was saved with schema {record['schema']}, but this release of trt-passes reads up to {SCHEMA}: "
        "upgrade it."
    )


def _checked(source: BinaryIO, name: str, allowed: Allowed) -> Archive:
    """The archive, if it is whole and holds a compiled program, of which nothing runs but what is allowed."""
    try:
        opened = zipfile.ZipFile(source)
        names = opened.namelist()
    except Exception as error:  # damage in the list of entries raises errors of a dozen kinds
        raise UserError(_NO_ARCHIVE.format(name)) from error
    if any(item.endswith("/constants.pkl") for item in names):
        raise UserError(f"{name} is TorchScript: load it with torch.jit.load.")
    if not any(item.endswith(f"/extra/{RECORD_FILE}") for item in names):
        raise UserError(f"{name} is no compiled program: give what tp.save wrote, or compile it first.")
    try:
        archive = Archive.of(opened, source)
        # PyTorch reads without a look at the checksums.
        damaged = opened.testzip()
    except ValueError as error:
        raise UserError(f"{name} is damaged ({on_one_line(error)}): copy it or save it again.") from error
    except Exception as error:
        raise UserError(_NO_ARCHIVE.format(name)) from error
    if damaged is not None:
        raise UserError(f"{name} is damaged (the checksum of {damaged!r} is wrong): copy it or save it again.")
    if not allowed.everything:
        _check_untrusted(archive, name, allowed)
    return archive


def _check_untrusted(archive: Archive, name: str, allowed: Allowed) -> None:
    trusted = "if you trust whoever made it, pass trust=True."
    try:
        check_archive(archive, allowed)
        if SAMPLE_INPUTS in archive.members and archive.members[SAMPLE_INPUTS].file_size:
            raise Pickled(SAMPLE_INPUTS)
    except Pickled as error:
        raise UserError(
            f"{name} could run any code ({on_one_line(error)}), which tp.save does not write: {trusted}"
        ) from error
    except NotAllowed as error:
        raise UserError(f"{name} cannot be used: {on_one_line(error)}; {trusted}") from error
    except Exception as error:
        raise UserError(f"{name} is damaged ({on_one_line(error)}): save it again.") from error


def _report_of(compiled: GraphModule) -> dict[str, Any]:
    report = getattr(compiled, "report", None)
    if isinstance(report, dict):
        return report
    found: dict[str, Any] = report.to_json() if report is not None else {}
    return found
