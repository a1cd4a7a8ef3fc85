"""Engines for Windows: what Torch-TensorRT has for them says here that they are not built."""

from __future__ import annotations

from typing import Any

from .mistakes import NotPossible


def cross_compile_for_windows(*args: Any, **kwargs: Any) -> None:
    """Raise RuntimeError: engines are built for Linux."""
    raise NotPossible("engines are built for Linux only: compile the model on the Windows machine.")


def load_cross_compiled_exported_program(*args: Any, **kwargs: Any) -> None:
    """Raise RuntimeError: there are no such files."""
    raise NotPossible("no file is cross-compiled here: read what save wrote by load.")
