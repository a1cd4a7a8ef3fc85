"""What Torch-TensorRT's logging has, for the logger "trt_passes"."""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..tensorrt.loader import load

LOGGER = logging.getLogger("trt_passes")

GRAPHS = 5
"""The level below DEBUG: the graph after every pass, too."""

INTERNAL_ERRORS = logging.CRITICAL


class Level(enum.Enum):
    """Levels of messages, from the fewest to the most."""

    InternalError = INTERNAL_ERRORS
    Error = logging.ERROR
    Warning = logging.WARNING
    Info = logging.INFO
    Debug = logging.DEBUG
    Graph = GRAPHS


def set_level(level: Any, logger: logging.Logger | None = None) -> None:
    """Show messages of that level and more severe ones, of this package's logger or another one."""
    (logger or LOGGER).setLevel(level.value if isinstance(level, Level) else level)


@contextmanager
def level(chosen: int) -> Iterator[None]:
    """Meanwhile, messages of that level and more severe ones are shown."""
    before = LOGGER.level
    LOGGER.setLevel(chosen)
    try:
        yield
    finally:
        LOGGER.setLevel(before)


class _AtLevel:
    """A context manager, as a class of its own for each level, since users name it without arguments."""

    chosen: int

    def __enter__(self) -> None:
        self._entered = level(self.chosen)
        self._entered.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._entered.__exit__(*error)


class internal_errors(_AtLevel):
    """Meanwhile, only errors of this package's own are shown."""

    chosen = INTERNAL_ERRORS


class errors(_AtLevel):
    """Meanwhile, errors are shown, and nothing less severe."""

    chosen = logging.ERROR


class warnings(_AtLevel):
    """Meanwhile, warnings and errors are shown."""

    chosen = logging.WARNING


class info(_AtLevel):
    """Meanwhile, what was compiled is shown too."""

    chosen = logging.INFO


class debug(_AtLevel):
    """Meanwhile, what every pass changed is shown too, and TensorRT's messages."""

    chosen = logging.DEBUG


class graphs(_AtLevel):
    """Meanwhile, the graph after every pass that changed it is shown too."""

    chosen = GRAPHS


def get_reportable_log_level() -> Level:
    """The level from which on messages are shown."""
    effective = LOGGER.getEffectiveLevel()
    return next((item for item in Level if item.value <= effective), Level.Graph)


def set_reportable_log_level(level: Level) -> None:
    """Show messages of that level and more severe ones."""
    set_level(level)


def trt_logger() -> Any:
    """A logger of TensorRT's, for `tensorrt.Runtime`, that shows warnings and errors."""
    module = load().module
    return module.Logger(module.Logger.WARNING)


def log(level: Level, msg: str) -> None:
    """Log a message of the user's."""
    LOGGER.log(level.value, msg)


def set_logging_prefix(prefix: str) -> None:
    """Begin every message of the logger's own handlers with a text; a handler is added if there is none."""
    if not LOGGER.handlers:
        LOGGER.addHandler(logging.StreamHandler())
    for handler in LOGGER.handlers:
        handler.setFormatter(logging.Formatter(f"{prefix}%(levelname)s: %(message)s"))
    LOGGER.propagate = False


def get_logging_prefix() -> str:
    """What `set_logging_prefix` said; nothing by default."""
    formats = [getattr(handler.formatter, "_fmt", "") or "" for handler in LOGGER.handlers]
    return formats[0].removesuffix("%(levelname)s: %(message)s") if formats else ""


def set_is_colored_output_on(colored_output_on: bool) -> None:
    """Let the logger's own handlers write in colours, by level; a handler is added if there is none."""
    prefix = get_logging_prefix()
    set_logging_prefix(prefix)
    for handler in LOGGER.handlers:
        kind = _Colored if colored_output_on else logging.Formatter
        handler.setFormatter(kind(f"{prefix}%(levelname)s: %(message)s"))


def get_is_colored_output_on() -> bool:
    """Whether `set_is_colored_output_on` let messages be in colours."""
    return any(isinstance(handler.formatter, _Colored) for handler in LOGGER.handlers)


class _Colored(logging.Formatter):
    """Errors are red, warnings yellow, and what is less is as it is."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        color = 31 if record.levelno >= logging.ERROR else 33 if record.levelno >= logging.WARNING else 0
        return f"\033[{color}m{text}\033[0m" if color else text
