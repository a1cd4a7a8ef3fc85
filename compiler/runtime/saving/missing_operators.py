"""Operators that a saved program calls and this process lacks: those of a library that was not imported."""

from __future__ import annotations

import json
import zipfile
from functools import reduce
from typing import Any, BinaryIO

import torch

_PREFIX = "torch.ops."


def missing_operators(source: BinaryIO) -> list[str]:
    """Names of operators, such as "mylib.scale.default", that a `.pt2` archive calls and PyTorch does not know."""
    targets: dict[str, None] = {}

    def keep(item: dict[str, Any]) -> dict[str, Any]:
        target = item.get("target")
        if isinstance(target, str) and target.startswith(_PREFIX):
            targets[target.removeprefix(_PREFIX)] = None
        return item

    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            if "/models/" in name and name.endswith(".json"):
                json.loads(archive.read(name), object_hook=keep)
    return [target for target in targets if not _is_known(target)]


def _is_known(target: str) -> bool:
    try:
        reduce(getattr, target.split("."), torch.ops)
    except AttributeError:
        return False
    return True
