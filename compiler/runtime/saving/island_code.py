"""Compiled code of what stays in PyTorch, as a member of a saved file."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

import torch

from ...errors import UserError
from ...ir.strict_json import strict_json
from ..engine_graph import EngineGraph
from ..island_packages import Packages, Shelf, packaged
from ..islands import ISLANDS, Island
from .allowed import Allowed
from .archive import Archive

ISLANDS_FILE = "trt_passes.islands.json"
"""The extra file that has it."""


def island_code(compiled: EngineGraph) -> dict[str, str]:
    """The extra file of a module whose islands Inductor compiles, for the GPU at hand, or else for the CPU."""
    if compiled.options.islands != "inductor":
        return {}
    islands: list[Island] = list(vars(vars(compiled)[ISLANDS]).values()) if ISLANDS in vars(compiled) else []
    packages = packaged([island.graph for island in islands], "cuda" if torch.cuda.is_available() else "cpu")
    return {} if packages is None else {ISLANDS_FILE: packages.to_json()}


def read_island_code(source: BinaryIO, name: str, compiled: EngineGraph, allowed: Allowed) -> None:
    """Give a module the code that its file has, if whoever loads it trusts the file: it could do anything.

    Raises:
        UserError: that part of the file is damaged.
    """
    if compiled.options.islands != "inductor" or not allowed.everything:
        return
    archive = Archive.of(zipfile.ZipFile(source), source)
    if f"extra/{ISLANDS_FILE}" not in archive.members:
        return
    try:
        packages = Packages.from_json(strict_json(archive.read(f"extra/{ISLANDS_FILE}")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{name} is damaged ({error!r:.300}, in {ISLANDS_FILE}): save it again.") from error
    vars(compiled)["_shelf"] = Shelf(packages)
    compiled.recompile()
