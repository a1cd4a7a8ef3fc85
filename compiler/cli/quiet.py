"""Keep PyTorch's own account of a failed export off the terminal, where one sentence says the same."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold back what is printed to stderr and logged by PyTorch inside the block; show it if the block succeeds."""
    written = io.StringIO()
    moved = [(handler, handler.stream) for handler in _torch_handlers()]
    try:
        for handler, _ in moved:
            handler.setStream(written)
        with contextlib.redirect_stderr(written):
            yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
    sys.stderr.write(written.getvalue())


def _torch_handlers() -> Iterator[logging.StreamHandler[TextIO]]:
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.split(".")[0] == "torch" and isinstance(logger, logging.Logger):
            # Files that the user asked PyTorch to log to, which are of subclasses, are left alone.
            yield from (handler for handler in logger.handlers if type(handler) is logging.StreamHandler)
