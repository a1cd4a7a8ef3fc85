"""Read a program that `torch.export.save` wrote, from whoever it came: PyTorch's own reader runs what is in it."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import torch
from torch.export import ExportedProgram

from ..errors import UserError, first_line, on_one_line
from ..ir.held_logs import held_logs
from ..ir.memory import with_bytes_of_its_own
from ..runtime.saving.allowed import Allowed, NotAllowed
from ..runtime.saving.archive import Archive
from ..runtime.saving.program_check import PROGRAM, SAMPLE_INPUTS, Pickled, check_archive
from .guard_texts import is_condition

_BEFORE_2_8 = "serialized_state_dict.pt"


def load_program(name: str, trust: bool, extra: dict[str, Any]) -> ExportedProgram:
    """The program in a `.pt2` file.

    Args:
        name: the path of the file.
        trust: read it whatever it holds: it can then run any code.
        extra: names of texts that the file may hold, to fill in.

    Raises:
        UserError: it is no such file, or needs to be trusted.
    """
    if not trust:
        _check(name)
    try:
        with held_logs("torch.export", "torch.export.pt2_archive._package"):
            exported = with_bytes_of_its_own(torch.export.load(name, extra_files=extra))
    except Exception as error:
        raise UserError(f"{name} is not a program saved by torch.export.save: {first_line(error)}.") from error
    for text in [] if trust else getattr(exported, "_guards_code", ()):  # PyTorch puts these texts into code
        if not is_condition(text):
            asked = f"it holds {str(text)[:100]!r}, which is no condition on sizes"
            raise UserError(f"{name} cannot be read: {asked}; pass --trust if you trust whoever made it.")
    return exported


def _check(name: str) -> None:
    try:
        with open(name, "rb") as file, zipfile.ZipFile(file) as opened:
            if _BEFORE_2_8 in opened.namelist():
                raise Pickled(_BEFORE_2_8)
            archive = Archive.of(opened, file)
            if PROGRAM not in archive.members:
                raise ValueError("it holds no program")
            check_archive(archive, Allowed())
            _check_sample_inputs(archive)
    except Pickled as error:
        raise UserError(
            f"{name} could run any code ({on_one_line(error)}): pass --trust if you trust whoever made it."
        ) from error
    except NotAllowed as error:
        asked = f"it calls {error.name}, which is no operator of PyTorch that computes with tensors"
        raise UserError(f"{name} cannot be read: {asked}; pass --trust if you trust whoever made it.") from error
    except Exception as error:  # damage in the list of entries raises errors of a dozen kinds
        raise UserError(f"{name} is not a program saved by torch.export.save: {first_line(error)}.") from error


def _check_sample_inputs(archive: Archive) -> None:
    """PyTorch unpickles sample inputs with its reader for tensors, and if that fails with Python's, which runs code."""
    data = archive.read(SAMPLE_INPUTS) if SAMPLE_INPUTS in archive.members else b""
    try:
        if data:
            torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:
        raise Pickled(SAMPLE_INPUTS) from error
