"""Read what `tp.save` wrote. Pickles of compiled modules name `from_bytes` by this module, so it keeps its name."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Any, BinaryIO

from ..errors import UserError, did_you_mean
from ..settings import Executor
from .compiled_module import CompiledModule, compiled_module, from_bytes
from .saving.allowed import Allowed
from .saving.save import loaded
from .whole_file import path_of

__all__ = ["from_bytes", "load"]

_EXECUTORS = ("auto", "tensorrt", "pytorch")


def load(
    path: str | os.PathLike[str],
    executor: Executor | None = None,
    *,
    trust: bool = False,
    operators: Collection[str] = (),
    **options: Any,
) -> CompiledModule:
    """Read what `save` wrote. The module runs on any machine: where its engines cannot, segments run in PyTorch.

    Nothing of the file runs but operators of PyTorch that compute with tensors, and the engines, which are TensorRT's:
    with the executor "pytorch" these are not touched either.

    Args:
        path: the `.pt2` file.
        executor: "auto", "tensorrt" or "pytorch"; by default what the module was saved with.
        trust: read the file whatever it holds, as `torch.export.load` does: it can then run any code.
        operators: namespaces of operator libraries that the file may call too, such as ["mylib"].
        options: other fields of `RuntimeOptions`, such as `cuda_graphs` and `runtime_cache_path`, in place of those
            that the module was saved with.

    Returns:
        A module called like the model, on the CPU. `report` on it is a `SavedReport`.

    Raises:
        UserError: the file is missing, damaged, no compiled program, written by a newer release, or holds what needs
            `trust` or `operators`; or an option is none.
    """
    source = path_of(path)
    if not source.is_file():
        problem = "is no file" if source.exists() else "does not exist"
        raise UserError(f"{source} {problem}: give the file that tp.save wrote.")
    try:
        file = source.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror or error}.") from error
    with file:
        return load_from(file, str(source), executor, trust=trust, operators=operators, **options)


def load_from(
    file: BinaryIO,
    name: str,
    executor: Executor | None = None,
    *,
    trust: bool = False,
    operators: Collection[str] = (),
    **options: Any,
) -> CompiledModule:
    """Read what `save` wrote from an open file, which errors call `name`; see `load`."""
    if executor is not None and executor not in _EXECUTORS:
        needs = " It needs the process that compiled."
        hint = needs if executor == "reference" else did_you_mean(executor, _EXECUTORS)
        raise UserError(f"a loaded program cannot use executor {executor!r}.{hint}")
    libraries = [operators] if isinstance(operators, str) else operators
    if not isinstance(libraries, Iterable) or not all(isinstance(library, str) for library in libraries):
        raise UserError(f"operators is {operators!r}: give names of operator libraries, such as ['mylib'].")
    allowed = Allowed(frozenset(libraries), trust)
    chosen = options if executor is None else {**options, "executor": executor}
    return loaded(file, name, chosen, allowed, compiled_module)
