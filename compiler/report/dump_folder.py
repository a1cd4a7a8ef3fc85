"""A dump folder, read: its run, ledger, passes, and what TensorRT made of its segments. Needs no PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError, did_you_mean
from ..ir.graph_lines import NodeLine, parse_graph
from ..ir.ledger import Ledger
from ..ir.quantisation import Quantisation
from ..ir.strict_json import strict_json
from .coverage import ModuleCoverage, from_csv

SCHEMA = 1
"""Version of the layout of `run.json`; it grows when a field changes its meaning or goes away."""

_PASS_FOLDER = re.compile(r"(?P<index>\d+)-(?P<name>.+)")


@dataclass(frozen=True)
class Stage:
    """The folder of one pass; `name` is the pass's, `input` for the program that the passes were given."""

    path: Path
    index: int
    name: str

    @property
    def text(self) -> str | None:
        """Its graph.txt; None for a pass that changed nothing."""
        path = self.path / "graph.txt"
        return path.read_text(encoding="utf-8") if path.exists() else None

    @property
    def is_cut(self) -> bool:
        """Whether its graph is that of the compiled module, whose nodes are calls of engines."""
        return self.name == "splice"


class DumpFolder:
    """A folder that `Dump` wrote.

    Raises:
        UserError: there is no such folder, or it is not a dump.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.path = folder, Path(folder)
        self.run = _run(folder)

    @cached_property
    def ledger(self) -> Ledger:
        """The verdicts; UserError if the run stopped before annotate."""
        text = self._text("ledger.jsonl")
        return Ledger.from_jsonl(text.splitlines())

    @property
    def why(self) -> str:
        """The text of why.txt; UserError if the run stopped before it was written."""
        return self._text("why.txt")

    @property
    def coverage(self) -> ModuleCoverage:
        """Coverage by module; UserError if the run stopped before it was written."""
        try:
            return from_csv(self._text("coverage.csv"))
        except (ValueError, KeyError) as error:
            raise UserError(f"{self.path / 'coverage.csv'} cannot be read: {error}.") from error

    @property
    def quantisation(self) -> Quantisation | None:
        """What `quantize` did to the model; None if it was not asked."""
        data = self.run.get("quantisation")
        if data is None:
            return None
        try:
            return Quantisation.from_json(data)
        except (TypeError, KeyError) as error:
            raise UserError(f"{self.path / 'run.json'} cannot be read: its quantisation lacks {error}.") from error

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The passes in the order they ran, `input` first."""
        found = []
        for path in self.path.iterdir():
            match = _PASS_FOLDER.fullmatch(path.name)
            if match and path.is_dir():
                found.append(Stage(path, int(match["index"]), match["name"]))
        return tuple(sorted(found, key=lambda stage: stage.index))

    @property
    def blocks(self) -> tuple[str, ...]:
        """The folders of the blocks, of TorchScript that was compiled in blocks; none else."""
        found = self.run.get("blocks")
        names = (str(block["name"]).replace("_", "-") for block in found or ())
        return tuple(f"{self.folder}/{name}" for name in names)

    def check_is_one(self) -> None:
        """Raise UserError for a model in blocks, which have graphs and passes of their own."""
        if self.blocks:
            raise UserError(
                f"{self.folder} is of TorchScript in blocks, each with a dump of its own: give "
                f"{', '.join(self.blocks)}."
            )

    @cached_property
    def graphs(self) -> tuple[tuple[Stage, dict[str, NodeLine]], ...]:
        """Every pass that changed the program, with the nodes of its graph; not that of the compiled module."""
        texts = ((stage, stage.text) for stage in self.stages if not stage.is_cut)
        return tuple((stage, parse_graph(text)) for stage, text in texts if text is not None)

    def graph_after(self, name: str) -> str:
        """The text of the graph after a pass; one that changed nothing wrote none, so it is the last one before.

        A pass is named by its name, its stage (then its last pass), its number or its folder.

        Raises:
            UserError: there is no such pass.
        """
        position = self._position(name)
        for stage in reversed(self.stages[: position + 1]):
            text = stage.text
            if text is not None:
                return text
        raise UserError(f"{self.folder} holds no graph.txt up to {name}: write the dump again.")

    def _position(self, name: str) -> int:
        for position in range(len(self.stages) - 1, -1, -1):
            stage = self.stages[position]
            numbered = name.isdecimal() and int(name) == stage.index
            if numbered or name in (stage.name, stage.name.split(".")[0], stage.path.name):
                return position
        self.check_is_one()
        known = [stage.name for stage in self.stages]
        raise UserError(f"{self.folder} has no pass {name!r}.{did_you_mean(name, known)}")

    def network_layers(self, segment: str, node: str) -> tuple[str, ...]:
        """The lines of a segment's network.txt for the layers that one op node became."""
        path = self._latest(f"{segment}/network.txt")
        lines = path.read_text(encoding="utf-8").splitlines() if path else ()
        return tuple(line.rpartition("  # ")[0] for line in lines if line.endswith(f"[fx:{node}]"))

    def kernels(self, segment: str, node: str) -> tuple[dict[str, Any], ...]:
        """The rows of a segment's layers.json for the kernels that an op node is in: name, type, nodes, …."""
        path = self._latest(f"{segment}/layers.json")
        rows = strict_json(path.read_text(encoding="utf-8"))["layers"] if path else ()
        return tuple(row for row in rows if node in row["nodes"])

    def _latest(self, name: str) -> Path | None:
        # The name of a segment comes from the ledger, and must not lead elsewhere.
        paths = (stage.path / name for stage in reversed(self.stages) if name.count("/") == 1 and name[0] != ".")
        return next((path for path in paths if path.exists()), None)

    def _text(self, name: str) -> str:
        path = self.path / name
        if not path.exists():
            raise UserError(f"{self.folder} has no {name}: its run did not get that far.")
        return path.read_text(encoding="utf-8")


@contextmanager
def reading(*folders: str) -> Iterator[None]:
    """Turn what damaged files in dump folders raise into one sentence, a UserError."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"{' or '.join(folders)} is damaged, or of another release ({type(error).__name__}: {said}): write the "
            "dump again."
        ) from error


def _run(folder: str) -> dict[str, Any]:
    """The `run.json` of a dump folder."""
    path = Path(folder, "run.json")
    if not Path(folder).is_dir():
        raise UserError(f"there is no folder {folder}: make one with `trt-passes run MODEL --dump-dir {folder}`.")
    try:
        run = strict_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} is not a dump folder: it has no run.json.") from None
    except ValueError as error:
        raise UserError(f"{path} cannot be read as JSON: {error}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not isinstance(run, dict) or "schema" not in run:
        raise UserError(f"{folder} is not a dump folder: its run.json has no schema version.")
    if not isinstance(run["schema"], int):
        raise UserError(f"{path} is damaged: its schema version is {run['schema']!r}; write the dump again.")
    if run["schema"] > SCHEMA:
        raise UserError(
            f"{folder} was written with schema {run['schema']}, but this release of trt-passes reads up to {SCHEMA}: "
            "upgrade it, or write the dump again."
        )
    return run
