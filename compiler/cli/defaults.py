"""Defaults of a project: the table `[tool.trt-passes]` of the nearest pyproject.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import UserError

TABLE = "tool.trt-passes"


@dataclass(frozen=True)
class Defaults:
    """Settings that hold unless the command line gives them.

    Attributes:
        path: of the pyproject.toml; None if there is none with such a table.
        settings: by name, with values as TOML has them.
    """

    path: Path | None
    settings: Mapping[str, Any]


def project_defaults(start: Path | None = None) -> Defaults:
    """The defaults for a folder, by default the working folder: those of the first pyproject.toml from there upwards.

    Raises:
        UserError: the file cannot be read, or its table holds something that is no setting.
    """
    folder = (start or Path.cwd()).absolute()
    for place in (folder, *folder.parents):
        path = place / "pyproject.toml"
        if path.is_file():
            table = _table(path)
            return Defaults(path if table else None, table)
    return Defaults(None, MappingProxyType({}))


def _table(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    tool = content.get("tool", {})
    table = tool.get("trt-passes", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise UserError(f"{TABLE} in {path} is {table!r}: make it a table of settings, such as min_block_size = 3.")
    settings = {name.replace("-", "_"): value for name, value in table.items()}
    _check(path, settings)
    return MappingProxyType(settings)


def _check(path: Path, settings: Mapping[str, Any]) -> None:
    from ..settings import Settings

    for name, value in settings.items():
        try:
            Settings.from_options({name: value})
        except UserError as error:
            if name == "weight_streaming_budget":  # needs another setting beside it
                continue
            raise UserError(f"[{TABLE}] in {path}: {error}") from error
