"""Keep what PyTorch logs before it raises off the terminal, where one sentence says the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_logs(*loggers: str) -> Iterator[list[logging.LogRecord]]:
    """Warnings and errors that these loggers log inside the block, which go nowhere else."""
    records: list[logging.LogRecord] = []

    def hold(record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True  # what users ask for by TORCH_LOGS
        records.append(record)
        return False

    for name in loggers:
        logging.getLogger(name).addFilter(hold)
    try:
        yield records
    finally:
        for name in loggers:
            logging.getLogger(name).removeFilter(hold)


def logged_error(records: list[logging.LogRecord]) -> BaseException | None:
    """The first error that was logged."""
    return next((record.exc_info[1] for record in records if record.exc_info), None)
