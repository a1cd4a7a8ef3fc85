"""The versions of everything that a run depends on."""

from __future__ import annotations

import platform

import torch

from ... import __version__
from ..tensorrt.loader import available


def versions() -> dict[str, str]:
    """Versions of everything that decides what a run produces; TensorRT's only if it is installed."""
    found = {"trt_passes": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    tensorrt = available()
    if tensorrt is not None:
        found[tensorrt.flavor] = tensorrt.version
    return found
