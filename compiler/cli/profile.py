"""The command `trt-passes profile`, and `diff` of two profiles."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import click
import torch
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..frontends.loaded_model import LoadedModel
from ..runtime.compiled_module import CompiledModule
from ..runtime.measure.profile import CPU, Place, Profile, place_text, us_text
from ..runtime.measure.profile_diff import diff_json, diff_text
from ..runtime.measure.script_profiling import ScriptProfiler
from ..runtime.program_arguments import call_arguments
from ..runtime.save import load
from ..runtime.saving.save import RECORD_FILE
from .run import Request, perform


def profile_model(request: Request, profile_path: str | None, as_json: bool) -> Profile:
    """Compile the model, or read a compiled one, run it under the profiler, and print where its run time goes.

    Raises:
        UserError: a mistake in the request, or there is no GPU, and PyTorch's operators were not asked for.
    """
    on_gpu = torch.cuda.is_available()
    if not on_gpu and request.executor != "pytorch":
        raise UserError(
            "a profile measures kernels on a GPU, and this machine has none that PyTorch can use: run it on one, or "
            "give --executor pytorch to measure PyTorch's operators on the CPU instead."
        )
    if _is_compiled(request.model):
        profile, dump = _of_file(request), None
    else:
        done = perform(request)
        script = getattr(done.compiled, "profile", None) if isinstance(done.compiled, torch.jit.ScriptModule) else None
        if script is not None:
            profile, dump = _measured_script(script), None
        elif not isinstance(done.compiled, CompiledModule) or done.program is None:
            raise UserError(
                f"{request.model} does not become one compiled graph here, and only such can be profiled: compile it "
                "in Python, and call profile on its parts."
            )
        else:
            profile, dump = _measured(done.compiled, call_arguments(done.program)), done.dump
    if dump is not None:
        dump.profiled(profile)
    if profile_path is not None:
        profile.save(profile_path)
    click.echo(json.dumps(profile.to_json(), indent=1, ensure_ascii=False) if as_json else profile_text(profile))
    for path in (profile_path, request.dump_dir):
        if path is not None and not as_json:
            click.echo(f"wrote {path}")
    return profile


def _is_compiled(name: str) -> bool:
    path = Path(name)
    if path.suffix != ".pt2" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(item.endswith(f"/extra/{RECORD_FILE}") for item in archive.namelist())
    except Exception:  # damage raises errors of a dozen kinds; whoever reads it as a program says so
        return False


def _of_file(request: Request) -> Profile:
    for name, given in (("--set", request.settings), ("--dump-dir", request.dump_dir)):
        if given:
            raise UserError(f"{name} is for compiling a model, and {request.model} is compiled: leave it out.")
    executor: Any = request.executor
    compiled = load(request.model, executor=executor, trust=request.trust)
    if request.inputs:
        model = LoadedModel(request.model, compiled).with_inputs(request.inputs)
        arguments = pytree.tree_map(_example, (tuple(model.args), dict(model.kwargs)))
    else:
        arguments = compiled.usual_arguments()
    return _measured(compiled, arguments)


def _example(leaf: Any) -> Any:
    return leaf.example() if hasattr(leaf, "example") else leaf


def _measured(compiled: CompiledModule, arguments: tuple[Any, Any]) -> Profile:
    if torch.cuda.is_available() and not all(item.executor == "pytorch" for item in compiled.segments.values()):
        compiled = compiled.cuda()
        arguments = pytree.tree_map(lambda leaf: leaf.cuda() if isinstance(leaf, torch.Tensor) else leaf, arguments)
    return compiled.profile(*arguments[0], **arguments[1])


def _measured_script(profiler: ScriptProfiler) -> Profile:
    args, kwargs = profiler.usual()
    on_gpu = not all(item.executor == "pytorch" for part in profiler.parts for item in part.segments.values())
    if torch.cuda.is_available() and on_gpu:
        profiler.script.cuda()
        args, kwargs = pytree.tree_map_only(torch.Tensor, torch.Tensor.cuda, (tuple(args), dict(kwargs)))
    return profiler(*args, **kwargs)


def profile_text(profile: Profile, most: int = 15) -> str:
    """A profile as tables: by line, by module, and what PyTorch runs by operator."""
    parts = [profile.head]
    tables = [("by line", profile.lines()), ("by module", profile.modules())]
    if len(profile.engines()) > 1:
        tables.insert(0, ("by engine", profile.engines()))
    for title, places in tables:
        parts += [title, *(f"  {place_text(place)}" for place in _shown(places, most))]
    if profile.measured != CPU and profile.operators():
        parts += [
            "PyTorch between the engines",
            *(f"  {place_text(place)}" for place in _shown(profile.operators(), most)),
        ]
    if profile.unknown_us:
        parts.append(f"kernels whose op nodes are not known: {us_text(profile.unknown_us)}")
    if profile.limits is not None:
        peak = ", ".join(f"{name} {value / 1e12:.0f}" for name, value in profile.limits.peak.items())
        parts.append(
            f"floors are of {profile.limits.bandwidth / 1e9:.0f} GB/s and, in 1e12 operations per second, {peak}: "
            "measured on this GPU"
        )
    return "\n".join(parts)


def _shown(places: tuple[Place, ...], most: int) -> list[Place]:
    return [place for place in places[:most] if place.us > 0]


def diff_profiles(before: str, after: str, as_json: bool) -> str:
    """How the run time in one `profile.json` differs from that in another."""
    left, right = Profile.load(before), Profile.load(after)
    return json.dumps(diff_json(left, right), indent=1, ensure_ascii=False) if as_json else diff_text(left, right)
