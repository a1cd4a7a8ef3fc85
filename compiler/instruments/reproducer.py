"""`repro/`: the program that a pass failed on, and a script that runs that pass alone on it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..ir.input import Input
from ..ir.program import Program, Segment, is_getitem
from ..ir.weightless import archive, weightless
from ..pass_base import Context, Pass
from ..pipeline import Pipeline, pass_text
from ..settings import Settings
from ..tensorrt.registry import Converter
from .custom_code import add_converters, add_operators, add_passes, own_converters, own_operators, own_passes
from .numerics import Numerics
from .protocol import Instrument
from .source_code import SourceCode

EVIDENCE = "numerics.pt"

MAX_WEIGHT_BYTES = 1 << 30
"""Weights above this size are left out of a reproducer."""

_KNOWN_LIBRARIES = ("builtins", "collections", "torch", "__main__")

_SCRIPT = '''"""Runs {passes} on the program that {name} failed on.

{message}

{weights}
"""

from __future__ import annotations

import sys
from pathlib import Path

from trt_passes.compiler.cli.reproduce import reproduce
{code}
reproduce(
    Path(__file__).parent,
    passes=[{names}],
    converters=[{converters}],
    weights=sys.argv[1] if len(sys.argv) > 1 else None,
)
'''


@dataclass(frozen=True)
class Reproducer:
    """Everything that a reproducer is made of.

    `passes` ends with the pass that failed; before it come those whose networks and engines it needs, since only
    graphs can be saved. `converters` are those of the user's own.
    """

    program: Program
    passes: tuple[Pass, ...]
    settings: Settings
    error: BaseException
    instrument: Instrument | None = None
    converters: tuple[Converter, ...] = ()

    @classmethod
    def of(
        cls,
        pipeline: Pipeline,
        index: int,
        program: Program,
        ctx: Context,
        error: BaseException,
        instrument: Instrument | None = None,
    ) -> Reproducer:
        """The reproducer of a pass, given by its place in the pipeline, that failed on `program`.

        `instrument` is the one that found the failure, if the pass did not raise itself.
        """
        before = [item for item in pipeline.passes[:index] if item.kind == "build"]
        converters = tuple(own_converters(ctx.converters, [program.graph]))
        return cls(program, (*before, pipeline.passes[index]), ctx.settings, error, instrument, converters)

    def write(self, folder: Path, max_weight_bytes: int = MAX_WEIGHT_BYTES) -> None:
        """Write the script, the program and the settings into an existing folder."""
        exported = self.program.exported
        tensors = [*exported.state_dict.values(), *exported.constants.values()]
        nbytes = sum(item.numel() * item.element_size() for item in tensors if isinstance(item, torch.Tensor))
        complete = nbytes <= max_weight_bytes
        (folder / "program.pt2").write_bytes(archive(exported if complete else weightless(exported)))
        (folder / "state.json").write_text(f"{json.dumps(self._state(), indent=1)}\n", encoding="utf-8")
        if isinstance(self.instrument, Numerics):
            torch.save(self.instrument.evidence(), folder / EVIDENCE)
        (folder / "reproduce.py").write_text(self._script(complete, nbytes), encoding="utf-8")

    def _state(self) -> dict[str, Any]:
        partition = self.program.partitioned_by
        return {
            "pipeline": ",".join(pass_text(item) for item in self.passes),
            "settings": self.settings.to_json(),
            "inputs": [str(item) for item in self.program.inputs],
            "partitioned_by": pass_text(partition) if isinstance(partition, Pass) else None,
            "nodes": [node.name for node in self.program.op_nodes],
            "segments": [segment_json(segment) for segment in self.program.segments],
        }

    def _script(self, complete: bool, nbytes: int) -> str:
        code = SourceCode()
        for line in _type_imports(self.program):
            code.import_line(line)
        add_operators(code, own_operators([self.program.graph]))
        names = add_passes(code, own_passes(self.passes))
        converters = add_converters(code, self.converters)
        weights = "program.pt2 holds the weights."
        if not complete:
            weights = (
                f"program.pt2 holds zeros instead of the {nbytes:,} bytes of weights: pass the path of a state dict "
                "saved by\ntorch.save(model.state_dict(), path) as the first argument if the failure needs them."
            )
        found = self.instrument
        if found is not None and not isinstance(found, Numerics):
            weights += f"\n\nThe instrument {type(found).__name__} found this: give one to reproduce(instruments=[…])."
        return _SCRIPT.format(
            passes=", ".join(item.name for item in self.passes),
            name=self.passes[-1].name,
            message=_quoted(f"{type(self.error).__name__}: {self.error}"),
            weights=weights,
            code=f"{code}\n\n" if str(code) else "",
            names=", ".join(names),
            converters=", ".join(converters),
        )


def _type_imports(program: Program) -> list[str]:
    """Imports of the libraries whose types hold the program's inputs and outputs: only they can register them."""
    modules: set[str] = set()
    waiting = [program.exported.call_spec.in_spec, program.exported.call_spec.out_spec]
    while waiting:
        spec = waiting.pop()
        if spec is not None:
            modules.add(getattr(spec.type, "__module__", None) or "builtins")
            waiting.extend(spec.children())
    kept = sorted(name for name in modules if name.split(".")[0] not in _KNOWN_LIBRARIES)
    return [f"import {name}  # registers types of the model's inputs and outputs" for name in kept]


def _quoted(text: str) -> str:
    """Text that can stand inside a docstring."""
    return text.replace("\\", "\\\\").replace('"""', "'''")


def segment_json(segment: Segment) -> dict[str, Any]:
    """A segment without its network and engine, as a JSON object."""
    return {
        "name": segment.name,
        "nodes": list(segment.nodes),
        "inputs": list(segment.inputs),
        "outputs": list(segment.outputs),
        "constants": list(segment.constants),
    }


def segment_from_json(row: Mapping[str, Any]) -> Segment:
    """The segment that `segment_json` described."""
    nodes, inputs, outputs, constants = (tuple(row[key]) for key in ("nodes", "inputs", "outputs", "constants"))
    return Segment(row["name"], nodes, inputs, outputs, constants)


def command_of(folder: Path) -> str:
    """The shell command that runs the script in a reproducer's folder."""
    return f"python {shlex.quote(str(folder / 'reproduce.py'))}"


def load(folder: Path) -> tuple[Program, Settings, str]:
    """The program, the settings and the pipeline's text of a reproducer."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    partition = state["partitioned_by"]
    loaded = Program(torch.export.load(folder / "program.pt2"))
    program = replace(
        as_saved(loaded, state["nodes"]),
        inputs=tuple(Input.parse(text) for text in state["inputs"]),
        segments=tuple(segment_from_json(row) for row in state["segments"]),
        partitioned_by=None if partition is None else Pipeline.parse(partition).passes[0],
    )
    return program, Settings.from_options(state["settings"]), state["pipeline"]


def as_saved(program: Program, names: Collection[str]) -> Program:
    """A loaded program with only the op nodes that it was saved with, by name; changes the graph in place.

    Loading adds a `getitem` for every result of an operator that nothing reads, and no segment knows of those.
    """
    for node in reversed(program.op_nodes):
        if is_getitem(node) and not node.users and node.name not in names:
            program.graph.erase_node(node)
    return program.synced()
