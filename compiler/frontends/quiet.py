"""What PyTorch prints about models that it rejects, kept from users who are told in an error."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator

_LOGGERS = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes")


@contextlib.contextmanager
def quiet_rejection() -> Iterator[None]:
    """Nothing is written to stderr while this is entered: afterwards all of it, or nothing if it ends with an error."""
    written, levels = io.StringIO(), {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(written):
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    sys.stderr.write(written.getvalue())
