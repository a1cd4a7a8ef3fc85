"""Continue a run from any stage of a dump, with the weights of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from ..compiler.errors import UserError, did_you_mean
from ..compiler.frontends.loaded_model import LoadedModel
from ..compiler.frontends.program_file import load_program
from ..compiler.instruments.reproducer import as_saved, segment_from_json
from ..compiler.ir.engine_spec import EngineArtifact, EngineSpec
from ..compiler.ir.graph_lines import parse_graph
from ..compiler.ir.left_out import LeftOut
from ..compiler.ir.program import Program, Segment
from ..compiler.ir.strict_json import strict_json
from ..compiler.ir.weights_file import NAME, Weight, WeightsFile, tensors_of
from ..compiler.manager import PassManager
from ..compiler.pass_base import Context, Pass
from ..compiler.pipeline import Pipeline
from ..compiler.report.dump_folder import DumpFolder, Stage, reading
from ..compiler.settings import Settings


@dataclass(frozen=True)
class Resumed:
    """What a run can go on with.

    Attributes:
        program: as it was before the first of the passes.
        passes: what is left to do, and what has to be done again.
        notes: what the user must know of that.
    """

    program: Program
    passes: tuple[Pass, ...]
    notes: tuple[str, ...] = ()


def resumed(
    folder: str, stage: str, pipeline: Pipeline, settings: Settings, weights: LoadedModel | None, trust: bool = False
) -> Resumed:
    """The program of a dump before a pass, with the model's weights, and the passes from there on.

    Networks are not in a dump, so what needs them begins at `convert`; engines are, so `splice` takes them.

    Args:
        folder: the dump.
        stage: a pass or stage of the pipeline, the first to run.
        pipeline: of the dump, or another with the same passes up to there.
        settings: of the run.
        weights: the model that was dumped; None if no pass needs weights.
        trust: read program files that can run code.

    Raises:
        UserError: there is no such stage, its program was not saved, or the weights are others.
    """
    dump = DumpFolder(folder)
    with reading(folder):
        first = _position(pipeline, stage)
        notes: list[str] = []
        begin = first
        if pipeline.passes[first].stage == "build":
            begin = next((i for i in range(first) if pipeline.passes[i].stage == "convert"), first)
            notes.append("networks are not in a dump, so convert runs again.")
        saved = _saved_before(dump, begin)
        program = _loaded(dump, saved, trust)
        file = WeightsFile.read(dump.stages[0].path / NAME)
        program = replace(program, inputs=file.inputs)
        passes = pipeline.passes[begin:]
        if weights is not None:
            program = _with_weights(dump, program, file, weights, Pipeline(pipeline.passes[:begin]), settings, trust)
        elif file.weights and any(item.kind == "build" for item in passes):
            raise UserError(
                f"the programs in {folder} have no weights, which {passes[-1].name} needs: give the model that was "
                "dumped with --weights, or stop with --until partition."
            )
        program = _with_segments(dump, program, pipeline, begin)
        if pipeline.passes[first].stage == "splice":
            program = _with_engines(dump, program)
    return Resumed(program, passes, tuple(notes))


def _position(pipeline: Pipeline, stage: str) -> int:
    for index, item in enumerate(pipeline):
        if stage in (item.name, item.stage):
            return index
    names = dict.fromkeys(word for item in pipeline for word in (item.stage, item.name))
    raise UserError(f"--from {stage}: the pipeline has no such pass or stage.{did_you_mean(stage, names)}")


def _saved_before(dump: DumpFolder, position: int) -> Stage:
    """The last stage before a pass whose graph is saved as a program."""
    before = [stage for stage in dump.stages if stage.index <= position and not stage.is_cut]
    for stage in reversed(before):
        if (stage.path / "program.pt2").exists():
            return stage
        if stage.text is not None:
            known = [item.name for item in dump.stages if (item.path / "program.pt2").exists()]
            raise UserError(
                f"{dump.folder} holds no program after {stage.name}, as of large models: continue right after "
                f"{' or '.join(known)}."
            )
    raise UserError(f"{dump.folder} holds no program: its run stopped before the first pass.")


def _loaded(dump: DumpFolder, stage: Stage, trust: bool) -> Program:
    extra: dict[str, Any] = {}
    exported = load_program(str(stage.path / "program.pt2"), trust, extra)
    text = stage.text
    names = parse_graph(text) if text is not None else {}
    return as_saved(Program(exported), names)


# --- weights ---------------------------------------------------------------------------------------------------------
def _with_weights(
    dump: DumpFolder,
    program: Program,
    file: WeightsFile,
    model: LoadedModel,
    before: Pipeline,
    settings: Settings,
    trust: bool,
) -> Program:
    """The program with the model's weights, and with what passes made of them, which they make again."""
    known = _model_tensors(model)
    needed = set(tensors_of(program.exported))
    given = {name: _checked(name, file.weights[name], known, model.name) for name in sorted(needed & set(file.weights))}
    made = needed - set(file.weights)
    if made:
        first = _loaded(dump, dump.stages[0], trust)
        names = set(tensors_of(first.exported))
        originals = {name: _checked(name, file.weights[name], known, model.name) for name in sorted(names)}
        start = replace(_filled(first, originals), inputs=file.inputs)
        again = tensors_of(PassManager(before, ctx=Context(settings=settings)).run(start).program.exported)
        missing = sorted(made - set(again))
        if missing:
            raise UserError(
                f"the constant {missing[0]}, which a pass made of weights, is not made again by {before}: continue "
                "from an earlier stage."
            )
        given |= {name: again[name] for name in made}
    owner = model.module
    left_out = None if isinstance(owner, ExportedProgram) else LeftOut.of(owner.forward, model.args, model.kwargs)
    return replace(_filled(program, given), left_out=left_out)


def _model_tensors(model: LoadedModel) -> dict[str, torch.Tensor]:
    if isinstance(model.module, ExportedProgram):
        return tensors_of(model.module)
    module = model.module
    found: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    found |= dict(module.named_buffers(remove_duplicate=False))
    for path, child in module.named_modules():
        for name, value in vars(child).items():
            if isinstance(value, torch.Tensor):
                found[f"{path}.{name}" if path else name] = value
    return found


def _checked(name: str, wanted: Weight, known: Mapping[str, torch.Tensor], model: str) -> torch.Tensor:
    tensor = known.get(name)
    if tensor is None:
        raise UserError(f"{model} has no weight {name}, which the dump has.{did_you_mean(name, known)}")
    found = Weight.of(tensor)
    if found.type != wanted.type:
        raise UserError(f"the weight {name} of {model} is {found.type}, and {wanted.type} in the dump: give its model.")
    if found.sha256 != wanted.sha256:
        raise UserError(
            f"the weight {name} of {model} has other numbers than in the dump (SHA-256 {found.sha256[:12]}…, not "
            f"{wanted.sha256[:12]}…): give the model that was dumped, or dump this one."
        )
    return tensor


def _filled(program: Program, tensors: Mapping[str, torch.Tensor]) -> Program:
    exported = program.exported
    for name, tensor in tensors.items():
        if name in exported.state_dict:
            old = exported.state_dict[name]
            value = tensor.detach()
            exported.state_dict[name] = (
                torch.nn.Parameter(value, old.requires_grad) if isinstance(old, torch.nn.Parameter) else value
            )
        else:
            exported.constants[name] = tensor.detach()
    return program


# --- segments and engines --------------------------------------------------------------------------------------------
def _with_segments(dump: DumpFolder, program: Program, pipeline: Pipeline, begin: int) -> Program:
    """The program with the segments that `partition`, or a pass after it, left."""
    path = _latest(dump, "partition.json", begin)
    makers = [item for item in pipeline.passes[:begin] if "partitioned" in item.establishes]
    if path is None or not makers:
        return program
    rows = strict_json(path.read_text(encoding="utf-8"))["segments"]
    segments = tuple(segment_from_json(row) for row in rows)
    return replace(program, segments=segments, partitioned_by=makers[-1])


def _with_engines(dump: DumpFolder, program: Program) -> Program:
    return program.with_segments(tuple(replace(s, engine=_engine(dump, s)) for s in program.segments))


def _engine(dump: DumpFolder, segment: Segment) -> EngineArtifact:
    path = _latest(dump, f"{segment.name}/engine.plan", len(dump.stages))
    if path is None:
        raise UserError(f"{dump.folder} holds no engine of {segment.name}: continue from convert.")
    data: Any = strict_json((path.parent / "layers.json").read_text(encoding="utf-8"))
    plan = np.frombuffer(bytearray(path.read_bytes()), dtype=np.uint8).data
    log = path.parent / "build.log"
    return EngineArtifact(
        plan=plan,
        spec=EngineSpec.from_json(data["spec"]),
        build_seconds=0.0,
        log=log.read_text(encoding="utf-8") if log.exists() else "",
        layers=tuple(data["layers"]),
    )


def _latest(dump: DumpFolder, name: str, position: int) -> Path | None:
    paths: Sequence[Path] = [stage.path / name for stage in dump.stages if stage.index <= position]
    return next((path for path in reversed(paths) if path.exists()), None)
