"""What PyTorch prints about models that it rejects, kept from users who are told in an error."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator

from ..ir.held_logs import held_logs

_LOGGERS = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes", "torch._guards")


@contextlib.contextmanager
def quiet_rejection() -> Iterator[None]:
    """Nothing is written to stderr while this is entered: afterwards all of it, or nothing if it ends with an error."""
    written = io.StringIO()
    with held_logs(*_LOGGERS) as records, contextlib.redirect_stderr(written), warnings.catch_warnings():
        # nn.LSTM and its like assign these themselves, which nobody but PyTorch can change.
        warnings.filterwarnings("ignore", r"The tensor attributes? .*_flat_weights")
        yield
    sys.stderr.write(written.getvalue())
    for record in records:
        logging.getLogger(record.name).handle(record)


@contextlib.contextmanager
def quiet_trial() -> Iterator[None]:
    """What PyTorch logs of a trial that may fail is dropped: whoever tries tells what came of it."""
    with held_logs(*_LOGGERS):
        yield
