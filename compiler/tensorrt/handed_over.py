"""How the registry of the package's converters is made: `passes`, which is above, says it when it is imported.

This module imports nothing, so that saying it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MAKERS: list[Callable[[], Any]] = []


def hand_over(make: Callable[[], Any]) -> None:
    """Say what makes the registry, which happens when it is first asked for."""
    _MAKERS[:] = [make]


def make() -> Any:
    """The registry.

    Raises:
        RuntimeError: `trt_passes.passes` was never imported.
    """
    if not _MAKERS:
        raise RuntimeError("nobody knows the converters yet: import trt_passes.passes, or any pass.")
    return _MAKERS[0]()
