"""`Debugger`: what was compiled meanwhile is dumped to a folder."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any

from ..errors import did_you_mean
from .arguments import default_folder
from .logs import GRAPHS, INTERNAL_ERRORS, LOGGER, level
from .mistakes import InvalidValue

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "internal_errors": INTERNAL_ERRORS,
    "graphs": GRAPHS,
}
_FOLDER: ContextVar[str | None] = ContextVar("trt_passes_debugger", default=None)


def dump_folder() -> str | None:
    """Where the debugger that was entered wants dumps; None outside of any."""
    base = _FOLDER.get()
    if base is None:
        return None
    number = 0
    while os.path.exists(os.path.join(base, f"compile-{number:02}")):
        number += 1
    return os.path.join(base, f"compile-{number:02}")


@dataclass
class DebuggerConfig:
    """What a `Debugger` is to write: its arguments, as attributes."""

    log_level: str = "debug"
    save_engine_profile: bool = False
    capture_tensorrt_api_recording: bool = False
    engine_builder_monitor: bool = True
    logging_dir: str = field(default_factory=functools.partial(default_folder, "debug_logs"))
    profile_format: str = "perfetto"
    save_layer_info: bool = False


class Debugger:
    """Meanwhile, every compilation writes a dump: `compile-00`, `compile-01`, … in a folder.

    A dump has the graph before and after every pass, TensorRT's layers and log of every engine, and why nodes stayed in
    PyTorch: see [Reading a dump](reading-a-dump.md).

    Args:
        log_level: of the logger "trt_passes" meanwhile: "debug", "info", "warning", "error", "internal_errors" or
            "graphs".
        capture_fx_graph_before, capture_fx_graph_after: passes whose graphs are wanted; a dump has those of all.
        save_engine_profile, save_layer_info: more of what a dump has: layers are in it, `compiled.profile` measures.
        engine_builder_monitor: show the progress of builds; a terminal always does.
        logging_dir: the folder; by default one of the user's among temporary files.
        others: of Torch-TensorRT's, which say what a dump is to hold.
    """

    def __init__(
        self,
        log_level: str = "debug",
        capture_fx_graph_before: Sequence[str] | None = None,
        capture_fx_graph_after: Sequence[str] | None = None,
        save_engine_profile: bool = False,
        profile_format: str = "perfetto",
        engine_builder_monitor: bool = True,
        logging_dir: str | os.PathLike[str] | None = None,
        save_layer_info: bool = False,
        **others: Any,
    ) -> None:
        if log_level not in _LEVELS:
            raise InvalidValue(f"log_level is {log_level!r}.{did_you_mean(str(log_level), _LEVELS)}")
        self.log_level, self.logging_dir = log_level, os.fspath(logging_dir or default_folder("debug_logs"))
        self._level = level(_LEVELS[log_level])
        self._token: Token[str | None] | None = None

    def __enter__(self) -> Debugger:
        os.makedirs(self.logging_dir, exist_ok=True)
        self._level.__enter__()
        self._token = _FOLDER.set(self.logging_dir)
        LOGGER.info("dumps are written to %s", self.logging_dir)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._token is not None:
            _FOLDER.reset(self._token)
        self._level.__exit__(*error)
