"""Writing a dump folder: only into a folder that is ours, every part of it whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UserError
from ..ir.strict_json import strict_json
from ..report.dump_folder import SCHEMA
from ..runtime.whole_file import on_disk

TOP_FILES = (
    "index.html",
    "run.json",
    "why.txt",
    "ledger.jsonl",
    "coverage.csv",
    "errors.json",
    "profile.json",
    "graph.dot",
    "graph.svg",
    "modules.svg",
)

"""The files that a dump has besides its folders."""

_OURS = re.compile(r"\d{2,}-[a-z0-9.-]+|repro(-[a-z0-9.-]+)?|\.writing-.*")
_GRAPH = re.compile(r"graph-(\d{2,})(-\d+)?")


def check_folder(root: Path) -> None:
    """Raise UserError unless a dump can go to `root`: a new folder, an empty one, or an earlier dump."""
    if not root.exists():
        parent = next((path for path in root.absolute().parents if path.exists()), None)
        if parent is None or not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise UserError(
                f"the dump folder {root} cannot be made, since {parent} is not a folder to write to: name another."
            )
        return
    if not root.is_dir():
        raise UserError(f"the dump should go to {root}, which is a file: name a folder.")
    if not os.access(root, os.W_OK | os.X_OK):
        raise UserError(f"the dump folder {root} is not writable: name another.")
    if any(root.iterdir()) and not _is_dump(root):
        raise UserError(
            f"the dump folder {root} holds files that are not an earlier dump: name an empty or a new folder."
        )


def _is_dump(root: Path) -> bool:
    """Whether a folder holds a dump, or nothing but what is left of one that was stopped before its first file."""
    try:
        run = strict_json((root / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return all(path.name.startswith(".writing-") for path in root.iterdir())
    except (OSError, ValueError):
        return False
    if not isinstance(run, dict) or not isinstance(run.get("schema"), int):
        return False
    if run["schema"] > SCHEMA:
        raise UserError(
            f"the dump folder {root} holds files that are not an earlier dump but one of a newer release (schema "
            f"{run['schema']}, and this one writes {SCHEMA}): name an empty or a new folder, or upgrade."
        )
    return "pipeline" in run


def clear_folder(root: Path) -> None:
    """Make the folder if need be, and remove what an earlier dump wrote; other files in it stay."""
    check_folder(root)
    root.mkdir(parents=True, exist_ok=True)
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink() and _OURS.fullmatch(path.name):
            shutil.rmtree(path)
        elif path.is_file() and (path.name in TOP_FILES or path.name.startswith(".writing-")):
            path.unlink()


def remove_graphs(root: Path, first: int) -> None:
    """Remove the dumps of torch.compile's graphs from number `first` on; what is no dump, or no part of one, stays."""
    found = ((path, _GRAPH.fullmatch(path.name)) for path in root.glob("graph-*"))
    remove_dumps(path for path, match in found if match is not None and int(match[1]) >= first)


def remove_dumps(folders: Iterable[Path]) -> None:
    """Remove dumps; what is no dump, or no part of one, stays."""
    for path in folders:
        # What cannot be removed is no reason to stop a compilation.
        with suppress(OSError, UserError):
            if (path / "run.json").is_file() and not path.is_symlink():
                clear_folder(path)
                path.rmdir()


class StagedFolder:
    """A folder to fill, which appears as `root/name` when it is finished, and not at all if it is discarded."""

    def __init__(self, root: Path, name: str) -> None:
        self.path, self._final = root / f".writing-{name}", root / name
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir()

    def finish(self) -> None:
        """Let the folder appear under its name."""
        on_disk(self.path)
        shutil.rmtree(self._final, ignore_errors=True)
        self.path.rename(self._final)

    def discard(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def staged(root: Path, name: str) -> Iterator[Path]:
    """A staged folder that is finished when the block ends, and discarded if it raises."""
    folder = StagedFolder(root, name)
    try:
        yield folder.path
        folder.finish()
    except BaseException:
        folder.discard()
        raise


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; with "\\n" line ends on every system."""
    temporary = path.with_name(f".writing-{path.name}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.write_text(text, encoding="utf-8", newline="\n")
        on_disk(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def as_user_error(root: Path) -> Iterator[None]:
    """Turn a failure of the disk into UserError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"the dump could not be written to {root}: {reason}; make room there or name another folder."
        ) from error
