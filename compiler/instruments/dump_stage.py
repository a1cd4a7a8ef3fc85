"""The folder of one pass in a dump."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...visualize.collapse import collapsed
from ...visualize.dot import to_dot
from ...visualize.network import network_picture
from ...visualize.operators import SEGMENT_LIMIT, graph_picture, program_picture, segment_pictures
from ...visualize.overview import overview_picture
from ...visualize.page import StageFiles
from ...visualize.picture import Picture
from ...visualize.render import Rendering
from ...visualize.text import graph_text, program_text
from ..ir.change import Change, Snapshot
from ..ir.graph_diff import graph_diff
from ..ir.partition_file import partition_text
from ..ir.program import Program, Segment
from ..ir.weightless import archive, save_without_rehearsal, weightless
from ..ir.weights_file import NAME as WEIGHTS
from ..ir.weights_file import WeightsFile, tensors_of
from .dump_files import StagedFolder
from .protocol import Failure, Step
from .side_process import SideProcess

MAX_SAVED_NODES = 2000
"""Op nodes above which only the program before all passes and the partitioned one are saved: saving takes 0.7 ms for
each, and a quarter of the memory that the program takes itself."""

MAX_SEGMENT_PICTURES = 12
"""Segments that get pictures of their own, the largest first; all of them are in the overview and in partition.json."""


class OpenStage:
    """A pass's folder while it is written: its program may still be saved while the next pass runs."""

    def __init__(self, root: Path, name: str, title: str) -> None:
        self.name, self.title = name, title
        self._folder = StagedFolder(root, name)
        self._saving: SideProcess | None = None

    @property
    def saving(self) -> bool:
        """Whether its program is still being saved."""
        return self._saving is not None and self._saving.running

    def finish(self) -> StageFiles:
        """Let the folder appear; returns what is in it."""
        if self._saving is not None:
            self._saving.finish()
        path = self._folder.path
        files = sorted(item.relative_to(path).as_posix() for item in path.rglob("*") if item.is_file())
        self._folder.finish()
        return StageFiles(self.name, self.title, tuple(files))

    def discard(self) -> None:
        """Remove the folder."""
        if self._saving is not None:
            self._saving.stop()
        self._folder.discard()

    def write_program(
        self, program: Program, title: str, touched: Collection[str], save: bool = True, with_weights: bool = False
    ) -> str:
        """Write a program as text, which is returned, as picture and, if `save`, as archive.

        With `with_weights`, also what its weights are known by; not their numbers.
        """
        path = self._folder.path
        weights = None
        if with_weights and any(tensor.is_cuda for tensor in tensors_of(program.exported).values()):
            weights = WeightsFile.of(program).text()  # a copy of the process has no GPU
        elif with_weights:
            weights = ""
        if save:
            self._saving = SideProcess(lambda: _save(path, program, weights), save_without_rehearsal)
        with _pictures(path, {"graph": program_picture(program, touched, title)}):
            text = program_text(program)
            _put(path / "graph.txt", text)
        return text

    def write_failed(self, failure: Failure, latest: str, before: str) -> None:
        """Write what a pass that failed had made of the program, if that can be shown, and why it failed.

        Args:
            failure: of the pass.
            latest: the last folder that had a graph.
            before: the text of that graph.
        """
        path = self._folder.path
        _put(path / "failed.txt", f"{failure.item.name} failed: {failure.error}\n")
        if failure.after is None:
            return
        try:
            touched = Change.between(Snapshot.of(failure.before), Snapshot.of(failure.after))
            text = self.write_program(failure.after, "when it failed", {*touched.created, *touched.rewired}, save=False)
        except Exception as error:  # a graph in the middle of being rewritten may be none
            _put(path / "graph.txt", f"# the graph cannot be shown: {type(error).__name__}: {error}\n")
            return
        difference = graph_diff(before, text, (f"{latest}/graph.txt", f"{self.name}/graph.txt"))
        _put(path / "change.diff", difference or "# nothing had changed when it failed\n")

    def write_step(self, step: Step, latest: str, before: str) -> str | None:
        """Write what a pass did.

        Args:
            step: the pass.
            latest: the last folder that had a graph.
            before: the text of that graph.

        Returns:
            The text of the graph, or None where the pass changed nothing.
        """
        program, change, path = step.after, step.change, self._folder.path
        text = None
        if not change.empty:
            touched = {*change.created, *change.rewired}
            if not change.graph_changed and 2 * len(change.annotated) <= len(program.op_nodes):
                touched = set(change.annotated)
            save = len(program.op_nodes) <= MAX_SAVED_NODES or "partitioned" in step.item.establishes
            text = self.write_program(program, f"after {step.item.name}", touched, save)
            names = (f"{latest}/graph.txt", f"{self.name}/graph.txt")
            _put(path / "change.diff", graph_diff(before, text, names))
        made = _write_segments(path, step)
        if step.after.compiled is not None and step.before.compiled is None:
            _write_compiled(path, program)
            made = True
        if text is None and not made:
            done = "changed nothing" if step.undone is None else f"failed and was undone ({step.undone.message})"
            _put(path / "unchanged.txt", f"{step.item.name} {done}: the graph is that of {latest}.\n")
        return text


def _save(path: Path, program: Program, weights: str | None) -> None:
    """Write the program's archive, and `weights` about its weights if it is a text; "" stands for what is not known."""
    (path / "program.pt2").write_bytes(archive(weightless(program.exported)))
    if weights is not None:
        _put(path / WEIGHTS, weights or WeightsFile.of(program).text())


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _write_compiled(folder: Path, program: Program) -> None:
    assert program.compiled is not None
    graph = program.compiled.graph
    picture = collapsed(graph_picture(graph, title="the compiled module"), SEGMENT_LIMIT, SEGMENT_LIMIT)
    with _pictures(folder, {"graph": picture}):
        _put(folder / "graph.txt", graph_text(graph))


def _write_segments(folder: Path, step: Step) -> bool:
    """Write what a pass made of segments: the partition, networks, engines; whether it made anything."""
    program = step.after
    known = {segment.name: segment for segment in step.before.segments}
    if program.segments and program.segments != step.before.segments:
        _write_partition(folder, program)
    drawn = {segment.name for segment in sorted(program.segments, key=_ops, reverse=True)[:MAX_SEGMENT_PICTURES]}
    made = False
    for segment in program.segments:
        before = known.get(segment.name)
        if segment.network is not None and (before is None or before.network is not segment.network):
            _write_network(folder / segment.name, program, segment, segment.name in drawn)
            made = True
        if segment.engine is not None and (before is None or before.engine is not segment.engine):
            _write_engine(folder / segment.name, segment)
            made = True
    return made


def _ops(segment: Segment) -> int:
    return len(segment.nodes)


def _write_partition(folder: Path, program: Program) -> None:
    _put(folder / "partition.json", partition_text(program))
    pictures = {"overview": overview_picture(program)}
    largest = sorted(program.segments, key=_ops, reverse=True)[:MAX_SEGMENT_PICTURES]
    for name, picture in segment_pictures(program, largest).items():
        (folder / name).mkdir()
        pictures[f"{name}/graph"] = picture
    with _pictures(folder, pictures):
        pass


def _write_network(folder: Path, program: Program, segment: Segment, draw: bool) -> None:
    folder.mkdir(exist_ok=True)
    assert segment.network is not None
    pictures = {"network": network_picture(segment.network, program, segment.name)} if draw else {}
    with _pictures(folder, pictures):
        _put(folder / "network.txt", segment.network.text())


def _write_engine(folder: Path, segment: Segment) -> None:
    folder.mkdir(exist_ok=True)
    engine = segment.engine
    assert engine is not None
    (folder / "engine.plan").write_bytes(engine.whole_plan)
    layers = {"spec": engine.spec.to_json(), "layers": list(engine.layers)}
    _put(folder / "layers.json", f"{json.dumps(layers, indent=1)}\n")
    _put(folder / "build.log", engine.log)


@contextmanager
def _pictures(folder: Path, pictures: dict[str, Picture]) -> Iterator[None]:
    """Write pictures as DOT and, where something can render it, SVG; they are laid out while the block runs."""
    running: dict[str, Rendering] = {}
    try:
        for name, picture in pictures.items():
            dot = to_dot(picture)
            _put(folder / f"{name}.dot", dot)
            running[name] = Rendering.start(dot)
        yield
        for name, rendering in running.items():
            svg = rendering.svg()
            if svg is not None:
                _put(folder / f"{name}.svg", svg)
    finally:
        for rendering in running.values():
            rendering.stop()
