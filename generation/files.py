"""`save` and `load`: a compiled module is one archive of PyTorch's, a model that generates is several in one file."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import zipfile
from collections.abc import Collection, Mapping
from typing import Any, BinaryIO

from ..compiler.errors import UserError, on_one_line
from ..compiler.ir.strict_json import strict_json
from ..compiler.runtime import save as modules
from ..compiler.runtime.saving.save import save as save_module
from ..compiler.runtime.saving.save import to_bytes
from ..compiler.runtime.whole_file import path_of, remove_abandoned, write_archive
from ..compiler.settings import Executor

SCHEMA = 2
"""Version of the record; 1 where every program has its weights itself."""

RECORD_FILE = "trt_passes_generation.json"
"""The entry that says what the programs of a model are for, with the model's configuration."""


def save(
    compiled: Any,
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
        compiled: what `compile` or `compile_for_generation` returned; a ScriptModule is written as it is, as
            TorchScript.
        path: the file.
        output_format: "exported_program" is a standard `.pt2` that `load` reads, and `torch.export.load` too;
            "torchscript" is read by `torch.jit.load`. Both need `trt_passes` to be imported, which has the operator
            that runs engines. By default TorchScript if the path ends in `.ts`, else an exported program. What
            `compile_for_generation` returned has a form of its own, which only `load` reads.
        extra_files: texts by name, which PyTorch's own readers give back as their `extra_files`.

    Raises:
        UserError: the module was not compiled by this package, its graph was edited, it has no form in TorchScript, or
            the file cannot be written.
    """
    programs = getattr(compiled, "programs", None)
    if not isinstance(programs, dict) or not hasattr(compiled, "plan"):
        return save_module(compiled, path, output_format, extra_files=extra_files)
    if output_format is not None or extra_files:
        given = f"output_format is {output_format!r}" if output_format is not None else "extra_files is given"
        raise UserError(f"{given}, but a model that generates has one form only: leave it out.")
    target = path_of(path)
    shared = _shared(programs)
    record = {
        "schema": SCHEMA if shared else 1,
        "plan": compiled.plan.to_json(),
        "config": compiled.config.to_dict(),
        "generation_config": compiled.generation_config.to_dict(),
        "programs": sorted(programs),
        "shared": shared,
    }
    remove_abandoned(os.path.dirname(os.path.realpath(target)))
    try:
        write_archive(target, lambda file: _write(file, record, programs))
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}.") from error
    return None


def _write(file: BinaryIO, record: dict[str, Any], programs: dict[str, Any]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(RECORD_FILE, json.dumps(record, default=str))
        for name, program in programs.items():
            archive.writestr(f"programs/{name}.pt2", to_bytes(program, record["shared"].get(name, ())))


def _shared(programs: Mapping[str, Any]) -> dict[str, list[str]]:
    """The parameters of other programs that are those of "step", in whose part of the file they are."""
    first = dict(programs["step"].named_parameters())
    found = {
        key: [name for name, parameter in program.named_parameters() if first.get(name) is parameter]
        for key, program in programs.items()
        if key != "step"
    }
    return {key: names for key, names in found.items() if names}


def _share(programs: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
    """Put the parameters of "step" in the place of those that were not written."""
    for key, names in shared.items():
        for name in names:
            path, _, leaf = name.rpartition(".")
            own, shared_one = programs[key].get_parameter(name), programs["step"].get_parameter(name)
            if (own.shape, own.dtype) != (shared_one.shape, shared_one.dtype):
                raise TypeError(f"{name} of {key} is not that of step")
            programs[key].get_submodule(path)._parameters[leaf] = shared_one


def load(
    path: str | os.PathLike[str],
    executor: Executor | None = None,
    *,
    trust: bool = False,
    operators: Collection[str] = (),
    **options: Any,
) -> Any:
    """Read what `save` wrote. The module runs on any machine: where its engines cannot, segments run in PyTorch.

    Nothing of the file runs but operators of PyTorch that compute with tensors, and the engines, which are TensorRT's:
    with the executor "pytorch" these are not touched either. For a model that generates, transformers makes the model
    that the file names, without weights.

    Args:
        path: the file.
        executor: "auto", "tensorrt" or "pytorch"; by default what the module was saved with.
        trust: read the file whatever it holds, as `torch.export.load` does: it can then run any code.
        operators: namespaces of operator libraries that the file may call too, such as ["mylib"].
        options: other fields of `RuntimeOptions`, such as `cuda_graphs` and `runtime_cache_path`, in place of those
            that the module was saved with.

    Returns:
        A module called like the model, on the CPU. `report` on it is a `SavedReport`. For a model that generates, the
        model; `report` is on each of its `programs`.

    Raises:
        UserError: the file is missing, damaged, no compiled program, written by a newer release, or holds what needs
            `trust` or `operators`; or an option is none.
    """
    source = path_of(path)
    record = _record(source)
    if record is None:
        return modules.load(path, executor, trust=trust, operators=operators, **options)
    if importlib.util.find_spec("transformers") is None:
        raise UserError(f"{source} holds a model of transformers, which is not installed: pip install transformers.")
    from transformers import GenerationConfig

    from .model import Plan, assembled, class_named, plain_config

    arguments: dict[str, Any] = {"trust": trust, "operators": operators, **options}
    chosen = {"cuda_graphs": bool(arguments.pop("cuda_graphs"))} if "cuda_graphs" in arguments else {}
    try:
        plan = Plan.from_json({**record["plan"], **chosen})
        base = class_named(plan.model_class)
        config = base.config_class.from_dict(record["config"] if trust else plain_config(record["config"]))
        generation_config = GenerationConfig.from_dict(record["generation_config"])
        names = [str(name) for name in record["programs"]]
    except UserError:
        raise
    except Exception as error:  # what is wrong in a configuration raises errors of a dozen kinds
        raise UserError(f"{source} is damaged ({on_one_line(error)}, in {RECORD_FILE}): save it again.") from error
    programs = {}
    for name in names:
        content = io.BytesIO(_program(source, name))
        programs[name] = modules.load_from(content, f"{source} ({name})", executor, **arguments)
    try:
        _share(programs, record.get("shared", {}))
        return assembled(base, config, generation_config, plan, programs, "cpu")
    except Exception as error:
        raise UserError(f"{source} is damaged ({on_one_line(error)}, in its config): save it again.") from error


def _program(source: Any, name: str) -> bytes:
    with zipfile.ZipFile(source) as archive:
        try:
            return archive.read(f"programs/{name}.pt2")
        except KeyError:
            raise UserError(f"{source} is damaged (it has no program {name!r}): save it again.") from None


def _record(source: Any) -> dict[str, Any] | None:
    """What the file of a model that generates says; None for any other file, or none."""
    if not source.is_file():
        return None  # a pipe or a device could be read for ever
    try:
        archive = zipfile.ZipFile(source)
    except Exception:  # damage in the list of entries raises errors of a dozen kinds; `load` of a module says which
        return None
    with archive:
        entries = archive.infolist()
        if not any(entry.filename == RECORD_FILE for entry in entries):
            return None
        try:
            problem = _problem(archive, os.stat(source).st_size)
            record = None if problem else strict_json(archive.read(RECORD_FILE))
        except Exception as error:
            problem = f"{on_one_line(error)}, in {RECORD_FILE}"
    if not problem and not (isinstance(record, dict) and isinstance(record.get("schema"), int)):
        problem = f"no schema, in {RECORD_FILE}"
    if problem or not isinstance(record, dict):
        raise UserError(f"{source} is damaged ({problem}): copy it or save it again.")
    if record["schema"] > SCHEMA:
        raise UserError(
            f"{source} was saved with schema {record['schema']}, but this release of trt-passes reads up to "
            f"{SCHEMA}: upgrade it."
        )
    return record


def _problem(archive: zipfile.ZipFile, size: int) -> str:
    """What is wrong with an archive; "" if it is as `save` writes it."""
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) != len(entries):
        return "entries have the same name"
    # Nothing is unpacked: a few bytes could become more than there is memory.
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size for entry in entries):
        return "entries are compressed, or end behind the end of the file"
    broken = archive.testzip()
    return f"the checksum of {broken!r} is wrong" if broken is not None else ""
