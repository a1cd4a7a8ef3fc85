"""Saved TorchScript, opened and called by another process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

_SERVER = """
import sys, warnings
import torch, trt_passes
from torch.utils import _pytree as pytree
warnings.simplefilter("ignore")
for line in sys.stdin:
    script = torch.jit.load(line.strip())
    results = []
    with torch.no_grad():
        for given, change in torch.load(line.strip() + ".calls", weights_only=False):
            try:
                result = script(*given)
                result = (result, script.update(given[0])) if change else result
                results.append([getattr(leaf, "name", leaf) for leaf in pytree.tree_leaves(result)])
            except RuntimeError as error:
                results.append("raises " + " ".join(str(error).split())[-200:])
    torch.save(results, line.strip() + ".results")
    print("done", flush=True)
"""


class Elsewhere:
    """A process that opens files; to be used in a `with` statement."""

    def __enter__(self) -> Elsewhere:
        self._folder = tempfile.TemporaryDirectory()
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", _SERVER], stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)
        self._folder.cleanup()

    def results(self, script: Any, calls: Sequence[tuple[Sequence[Any], bool]]) -> list[Any]:
        """The leaves of the results of calls, one after the other; texts of those that raise.

        Args:
            script: what is saved.
            calls: arguments, and whether `update` is called after it.
        """
        path = Path(self._folder.name) / "model.ts"
        torch.jit.save(script, path)
        torch.save(list(calls), f"{path}.calls")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n", "the other process ended"
        found: list[Any] = torch.load(f"{path}.results", weights_only=False)
        return found
