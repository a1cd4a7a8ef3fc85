"""Files that are there whole or not at all, also when several processes write them at once."""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UserError

PREFIX = ".writing-"
"""How the names of files begin that are not whole yet, or were left by a process that ended."""

_UNFINISHED = re.compile(rf"{re.escape(PREFIX)}[0-9a-f]{{16}}")
_ABANDONED_SECONDS = 3600
"""Age from which an unfinished file is taken for one of a process that ended."""


def remove_abandoned(folder: str | os.PathLike[str]) -> None:
    """Remove the unfinished files in a folder that nobody has written to for an hour."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            # Another process may remove a file at any time.
            with suppress(OSError):
                if _UNFINISHED.fullmatch(entry.name) and entry.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    os.unlink(entry)


def path_of(path: str | os.PathLike[str]) -> Path:
    """The path of a file that a user named.

    Raises:
        UserError: it is no path.
    """
    try:
        found = Path(path)
        if "\0" in str(found):
            raise ValueError("a path holds no zero bytes")
        return found
    except (TypeError, ValueError):
        raise UserError(f"{path!r} is no path: give the name of a file, such as 'model.pt2'.") from None


@contextmanager
def whole_files(*paths: str | os.PathLike[str]) -> Iterator[list[BinaryIO]]:
    """Files to write to, which take the places of `paths` when the block ends, or vanish if it raises.

    They are beside these places, and on the disk before they are renamed: after a power cut a place has the old file
    or the whole new one. A place that is a symbolic link stays one: what it leads to is replaced.

    Raises:
        OSError: a file cannot be written, or a place is taken by something that is no file; what was there stays.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    unfinished = [target.parent / f"{PREFIX}{secrets.token_hex(8)}" for target in targets]
    for target in targets:
        _check_replaceable(target)
    try:
        with ExitStack() as stack:
            files: list[BinaryIO] = [stack.enter_context(path.open("xb")) for path in unfinished]
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for path, target in zip(unfinished, targets, strict=True):
            path.replace(target)
    except BaseException:
        for path in unfinished:
            path.unlink(missing_ok=True)
        raise


def write_whole(path: str | os.PathLike[str], parts: Iterable[bytes | bytearray | memoryview]) -> None:
    """Write the parts, one after the other, to a file beside `path` and rename it to `path`, see `whole_files`.

    Raises:
        OSError: the file cannot be written; what was at `path` is then still there.
    """
    with whole_files(path) as (file,):
        for part in parts:
            file.write(part)


def write_archive(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let a function of PyTorch write an archive to a file beside `path`, and rename it to `path`.

    Raises:
        OSError: the file cannot be written; what was at `path` is then still there.
    """
    with whole_files(path) as (file,):
        held = _ErrorsHeld(file)
        write(held)  # type: ignore[arg-type]
        if held.error is not None:
            raise held.error


def on_disk(place: Path) -> None:
    """Wait until a file, or all that is in a folder and the folders in it, is on the disk.

    Raises:
        OSError: the disk failed.
    """
    for path in (place, *place.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())


class _ErrorsHeld(io.RawIOBase):
    """Writes to a file until that fails, and keeps the error: PyTorch's archive writer ends the process on errors.

    The writer is also what Ctrl-C interrupts while a file is written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: BaseException | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._attempt(lambda: self._file.seek(offset, whence), 0)

    def write(self, data: Any, /) -> int:
        return self._attempt(lambda: self._file.write(data), len(data))

    def _attempt(self, action: Callable[[], int], otherwise: int) -> int:
        if self.error is None:
            try:
                return action()
            except BaseException as error:
                self.error = error
        return otherwise


def _check_replaceable(target: Path) -> None:
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(target))
