"""Engines for Windows: those of TensorRT-RTX are the same on every operating system, and built as usual."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from ..tensorrt.loader import load as load_tensorrt
from .compilation import compile, compile_program
from .files import load, save
from .mistakes import InvalidValue, NotPossible, python_errors

_NOT_THERE = frozenset({"enable_cross_compile_for_windows", "use_python_runtime", "lazy_engine_init"})


@python_errors
def cross_compile_for_windows(
    module: Any,
    file_path: str | os.PathLike[str] = "",
    inputs: Any = None,
    arg_inputs: Any = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    enabled_precisions: Any = None,
    **options: Any,
) -> None:
    """Compile a model with TensorRT-RTX, and write it to a file for Windows: NVIDIA says that engines are portable.

    Args:
        module: the model.
        file_path: the file, which `load_cross_compiled_exported_program` reads on either system.
        inputs, arg_inputs, kwarg_inputs, enabled_precisions, options: as for `compile`.

    Raises:
        ValueError: there is no path.
        RuntimeError: the TensorRT that is installed is not TensorRT-RTX.
    """
    if not file_path:
        raise InvalidValue("cross_compile_for_windows writes a file: give file_path.")
    _check()
    chosen = _chosen(options)
    if enabled_precisions is not None:
        chosen["enabled_precisions"] = enabled_precisions
    save(compile(module, "dynamo", inputs, arg_inputs=arg_inputs, kwarg_inputs=kwarg_inputs, **chosen), file_path)


@python_errors
def cross_compile_program_for_windows(
    exported_program: Any,
    inputs: Any = None,
    *,
    arg_inputs: Any = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    **options: Any,
) -> torch.fx.GraphModule:
    """`dynamo.cross_compile_for_windows`: a program compiled with TensorRT-RTX, whose engines run on Windows as well.

    Args:
        exported_program, inputs, arg_inputs, kwarg_inputs, options: as for `dynamo.compile`.

    Raises:
        RuntimeError: the TensorRT that is installed is not TensorRT-RTX.
    """
    _check()
    chosen = _chosen(options)
    return compile_program(exported_program, inputs, arg_inputs=arg_inputs, kwarg_inputs=kwarg_inputs, **chosen)


def save_cross_compiled_exported_program(gm: torch.fx.GraphModule, file_path: str | os.PathLike[str]) -> None:
    """Write what `dynamo.cross_compile_for_windows` gave to a file.

    Args:
        gm: what was compiled.
        file_path: the file.
    """
    save(gm, file_path)


def load_cross_compiled_exported_program(file_path: str | os.PathLike[str] = "") -> Any:
    """Read such a file; see `load`. It is one of this package's, and read on Linux too."""
    return load(file_path)


def _chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options but for those that say nothing here."""
    return {name: value for name, value in options.items() if name not in _NOT_THERE}


def _check() -> None:
    library = load_tensorrt()
    if not library.is_rtx:
        raise NotPossible(
            f"engines of {library} run on the operating system that they were built on: install TensorRT-RTX, whose "
            "engines are portable, or compile on Windows."
        )
