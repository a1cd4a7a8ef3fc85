"""Read mutated files, and keep account of what became of them."""

from __future__ import annotations

import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from trt_passes.compiler.errors import UserError

from .bases import Base
from .canary import Canary
from .mutations import mutated

SECONDS = 30
"""For one file, after which it counts as a failure."""


class TooSlow(BaseException):
    """A file took too long; no handler of errors may take it for one of its own."""


@dataclass
class Account:
    """What became of files: counts by kind of file, mutation and outcome, and failures by number of the file."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)


def fuzz(bases: Sequence[Base], numbers: Iterable[int], seed: int, folder: Path, canary: Canary) -> Account:
    """Read the files of these numbers; one is the same whenever it is made of the same seed and honest files."""
    account, honest = Account(), {base.name: base.path.read_bytes() for base in bases}
    for number in numbers:
        random = Random(f"{seed} {number}")
        base = random.choice(bases)
        kind, data = mutated(honest[base.name], random)
        # A new path for each: PyTorch may map a file into memory.
        path = folder / f"{number}.pt2"
        path.write_bytes(data)
        outcome, failure = _read(base, path, canary)
        account.counts[base.name, kind, outcome] += 1
        if failure:
            account.failures[number] = f"{base.name}, {kind}: {failure}"
        else:
            path.unlink()
    return account


def _read(base: Base, path: Path, canary: Canary) -> tuple[str, str]:
    watched = canary.watch()
    seen: list[str] = []
    try:
        with _limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with watched as seen:
                outcome, failure = ("read" if base.read(path) else "refused"), ""
    except UserError as error:
        outcome, failure = "refused", "" if "\n" not in str(error) else f"it is said in lines: {error}"
    except (TooSlow, Exception):
        outcome, failure = "failed", traceback.format_exc(limit=-4)
    # The cache of engines removes what is damaged.
    ran = [text for text in seen if base.name != "engine of the cache" or "builtins" in text or "payload" in text]
    return ("ran", "; ".join(ran)) if ran else (outcome, failure)


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
