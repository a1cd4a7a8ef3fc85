"""The dump's `index.html`: one self-contained interactive page.

`Recording` collects the programs while a run goes on, `Contents` is everything the page knows, `index_html` the page.
The page's own code is in `script/` and `style/`, and is put into every page it is written to. Names are loaded on first
use: `data_of` reads the page of a finished dump, and does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assembly import data_of, index_html, page_html
    from .contents import Contents, Measure, StageFiles
    from .recording import Recording

_HOMES = {
    "data_of": "assembly",
    "index_html": "assembly",
    "page_html": "assembly",
    "Contents": "contents",
    "Measure": "contents",
    "StageFiles": "contents",
    "Recording": "recording",
}

__all__ = ["Contents", "Measure", "Recording", "StageFiles", "data_of", "index_html", "page_html"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
