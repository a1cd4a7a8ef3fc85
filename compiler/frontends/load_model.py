"""Load a model by the name that the command line is given: a file of torch.export or TorchScript, or a factory."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch.export import ExportedProgram

from ..errors import UserError, did_you_mean, first_line
from ..ir.input import Input
from ..runtime.saving.save import RECORD_FILE
from .loaded_model import LoadedModel
from .program_file import load_program

FORMS = "model.pt2, TorchScript model.pt, file.py:factory or package.module:factory"


def load_model(name: str, trust: bool = False) -> LoadedModel:
    """The model behind a name: a `.pt2`, a TorchScript `.pt`, `file.py:factory` or `package.module:factory`.

    `model.pt:encode` is another method of TorchScript than `forward`.

    A factory takes no arguments and returns a module, or a module and its example inputs: a tensor, a sequence
    (positional) or a mapping (by name), of tensors or `Input`s. A factory is code that runs, and so is TorchScript. A
    `.pt2` is checked to hold none, unless `trust` says that it may.

    Raises:
        UserError: there is no such file, it is not a model, or the factory raised.
    """
    target, separator, factory = name.rpartition(":")
    if separator and factory.isidentifier() and not Path(name).exists():
        if Path(target).is_file() and _is_torchscript(Path(target)):
            return LoadedModel(name, _method_of(_load_torchscript(target), target, factory))
        return _from_factory(name, target, factory)
    path = Path(name)
    if path.suffix == ".py":
        _require_file(name, path)
        raise UserError(f"{name} needs the name of a factory: {name}:NAME.{_offer(_functions_in(path))}")
    if path.suffix == ".pt2":
        _require_file(name, path)
        if _is_torchscript(path):
            raise UserError(f"{name} is TorchScript, and .pt2 says that it is a program of torch.export: call it .pt.")
        return LoadedModel(name, _load_exported(name, trust))
    if path.suffix in (".pt", ".pth", ".ts", ".torchscript"):
        _require_file(name, path)
        return LoadedModel(name, _load_torchscript(name))
    if _is_torchscript(path):  # other people's are called .jit, .jpt and so on
        return LoadedModel(name, _load_torchscript(name))
    if not path.exists():
        raise UserError(f"there is no model {name!r}: give {FORMS}.")
    _require_file(name, path)
    raise UserError(f"{name} is not a model that can be read: give {FORMS}.")


def _require_file(name: str, path: Path) -> None:
    if path.is_file():
        return
    if path.exists():
        raise UserError(f"{name} is a folder, not a model: give {FORMS}.")
    siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    raise UserError(f"there is no file {name}.{_close(path.name, siblings)}")


def _close(name: str, known: Sequence[str]) -> str:
    text = did_you_mean(name, known)
    return text if text.startswith(" Did") else ""


def _offer(names: Sequence[str]) -> str:
    return f" It defines: {', '.join(names)}." if names else ""


# --- files ---------------------------------------------------------------------------------------------------------
def _load_exported(name: str, trust: bool) -> ExportedProgram:
    extra: dict[str, Any] = {RECORD_FILE: ""}
    exported = load_program(name, trust, extra)
    _require_model(name, extra)
    return exported


def _is_torchscript(path: Path) -> bool:
    """Whether it is an archive with what `torch.jit.save` writes."""
    try:
        with ZipFile(path) as archive:
            return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())
    except (BadZipFile, OSError):
        return False


def _load_torchscript(name: str) -> torch.nn.Module:
    extra: dict[str, Any] = {RECORD_FILE: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's advice to export instead is for who saved the file
            module: torch.nn.Module = torch.jit.load(name, "cpu", extra)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise UserError(f"{name} is not a TorchScript model: {_why_not_torchscript(Path(name), error)}.") from error
    _require_model(name, extra)
    return module


def _method_of(module: Any, file: str, method: str) -> Any:
    """Another method than `forward` of what a file has."""
    from .torchscript.conversion import with_forward

    known = [name for name in module._c._method_names() if not name.startswith("__")]
    if method not in known:
        raise UserError(f"the TorchScript of {file} has no method {method!r}.{did_you_mean(method, known)}")
    return with_forward(getattr(module, method))


def _why_not_torchscript(path: Path, error: Exception) -> str:
    """What is wrong with a file that PyTorch does not load as TorchScript, and what to do."""
    try:
        with ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except (BadZipFile, OSError):
        with path.open("rb") as file:
            beginning = file.read(4)
        if beginning == b"PK\x03\x04":
            return "it is cut short, or damaged: write it or copy it again"
        return "it is no archive of torch.jit.save: give a file that torch.jit.save wrote, or file.py:factory"
    if "data.pkl" in names and "constants.pkl" not in names:
        return (
            "it holds weights or a pickled module, which alone cannot be compiled: give file.py:factory, where "
            "factory() returns the module and example inputs"
        )
    if "constants.pkl" not in names:
        return "it is an archive of something else: give a file that torch.jit.save wrote, or file.py:factory"
    return first_line(error).rstrip(".")


def _require_model(name: str, extra: Mapping[str, Any]) -> None:
    if extra[RECORD_FILE]:
        raise UserError(f"{name} is compiled already, as tp.save wrote it: give the model that it was made of.")


# --- factories -----------------------------------------------------------------------------------------------------
def _from_factory(name: str, target: str, factory: str) -> LoadedModel:
    function = _function(name, target, factory, "factory", "that returns a module and its inputs")
    return _interpret(name, _guarded(name, target, function))


def load_function(name: str) -> Callable[..., Any]:
    """The function that `file.py:name` or `package.module:name` names.

    Raises:
        UserError: there is none, or its file raises.
    """
    target, separator, attribute = name.rpartition(":")
    if not separator or not attribute.isidentifier():
        raise UserError(f"{name!r} names no function: give file.py:NAME or package.module:NAME.")
    return _function(name, target, attribute, "function", "of the results that are expected and found")


def _function(name: str, target: str, attribute: str, kind: str, what: str) -> Callable[..., Any]:
    path = Path(target)
    if path.suffix == ".py" or os.sep in target:
        _require_file(target, path)
        module = _guarded(target, target, lambda: _import_file(path))
    else:
        module = _guarded(target, target, lambda: _import_module(target))
    function = getattr(module, attribute, None)
    if function is None:
        names = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise UserError(f"{target} has no {kind} {attribute!r}.{did_you_mean(attribute, names)}")
    if not callable(function):
        raise UserError(f"{name} is a {type(function).__name__}: name a function {what}.")
    found: Callable[..., Any] = function
    return found


def _import_file(path: Path) -> types.ModuleType:
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python file.py` does, so that the file's own imports work
    spec = importlib.util.spec_from_file_location(f"trt_passes_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file: name it file.py:factory.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _import_module(target: str) -> types.ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: packages beside the working folder
    try:
        return importlib.import_module(target)
    except ModuleNotFoundError as error:
        if error.name is not None and (target == error.name or target.startswith(f"{error.name}.")):
            raise UserError(f"there is no Python module {error.name!r}: give {FORMS}.") from None
        raise


def _guarded(what: str, target: str, action: Callable[[], Any]) -> Any:
    """Run the user's code; what it raises becomes one sentence with the user's line."""
    try:
        return action()
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, SyntaxError) and error.filename:
            place: str | None = f"{Path(error.filename).name}:{error.lineno}"
            words = error.msg
        else:
            place, words = _line_in(error, target), str(error)
        at = f" at {place}" if place else ""
        first = words.strip().splitlines()[0] if words.strip() else "no message"
        raise UserError(f"{what} raised {type(error).__name__}{at}: {first}") from error


def _line_in(error: BaseException, target: str) -> str | None:
    """The innermost line of the user's own file in a traceback, else the innermost line."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    chosen = [frame for frame in own if Path(frame.filename).name == Path(target).name] or own
    return f"{Path(chosen[-1].filename).name}:{chosen[-1].lineno}" if chosen else None


def _interpret(name: str, result: Any) -> LoadedModel:
    module, inputs = result if isinstance(result, tuple | list) and len(result) == 2 else (result, ())
    if not isinstance(module, torch.nn.Module | ExportedProgram):
        raise UserError(
            f"{name} returned {_described(result)}: a factory returns a module, or a module and its example inputs."
        )
    if isinstance(inputs, Mapping):
        return LoadedModel(name, module, (), dict(inputs))
    if isinstance(inputs, torch.Tensor | Input):
        return LoadedModel(name, module, (inputs,))
    if not isinstance(inputs, tuple | list):
        raise UserError(
            f"{name} returned inputs of type {type(inputs).__name__}: give a tensor, a sequence or a mapping of names."
        )
    return LoadedModel(name, module, tuple(inputs))


def _described(result: Any) -> str:
    if isinstance(result, tuple | list):
        return f"({', '.join(type(item).__name__ for item in result)})"
    return type(result).__name__


def _functions_in(path: Path) -> list[str]:
    """Public functions without required arguments that a file defines, found without running it."""
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError):
        return []
    functions = [item for item in body if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")]
    return [item.name for item in functions if len(item.args.args) == len(item.args.defaults)]
