"""Compile one program and compare it with PyTorch."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
import trt_passes as tp
from torch import nn
from torch.utils import _pytree as pytree
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.frontends.torch_compile import backend

from . import pytorch_alone
from .compare import difference, is_rounding
from .program import Program, mode_of, seed_all
from .refusals import as_allowed, is_true_reason, kind_of

_SLOW = 45.0
"""Seconds of processor time after which a compilation counts as slow."""

_MOST_WAYS = 4
"""Ways in which a program is tried, as long as refusals say which sizes are allowed, before its sizes are fixed."""


class Kind(StrEnum):
    """What became of a program."""

    RIGHT = "right"
    PLAINER = "right, after a refusal, in a plainer way"
    REFUSED = "refused"
    UNKNOWN = "refused, reason not known to be true"
    WRONG = "wrong"
    CRASH = "crash"
    SLOW = "slow"
    PYTORCH = "PyTorch's own fault"


FAILURES = (Kind.WRONG, Kind.CRASH, Kind.SLOW, Kind.UNKNOWN)


@dataclass(frozen=True)
class Verdict:
    """The kind, a sentence that says more, and seconds of processor time; `trace` is that of an exception.

    `source` is the file of a program that failed: its number gives another one where PyTorch is another one.
    """

    number: int
    kind: Kind
    message: str = ""
    seconds: float = 0.0
    trace: str = ""
    source: str = ""

    @property
    def group(self) -> str:
        """What failures of one cause have in common."""
        return f"{self.kind}: {'' if self.kind is Kind.WRONG else kind_of(self.message)}"


class _Stop(Exception):
    def __init__(self, kind: Kind, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.trace = kind, message, trace


def judged(program: Program) -> Verdict:
    """Compile the program as its case says, call it at its sizes, and compare with PyTorch.

    One that is refused is tried in plainer ways too: with the sizes that the refusal allows, with fixed sizes, then
    also by "dynamo". It is refused only if all of these refuse it; the message has the first sentence.
    """
    verdict = found = _judged(program)
    fixed = replace(program, ranges={name: (usual,) * 3 for name, (_, usual, _) in program.ranges.items()})
    plainer = [fixed, fixed.with_case(frontend="dynamo")]
    tried, now = [program], program
    while found.kind is Kind.REFUSED:
        allowed = as_allowed(found.message, now) if len(tried) < _MOST_WAYS else None
        other = next((item for item in [*([allowed] if allowed else []), *plainer] if item not in tried), None)
        if other is None:
            return verdict
        now = other
        tried.append(now)
        found = _judged(now)
        verdict = replace(verdict, seconds=round(verdict.seconds + found.seconds, 2))
    if found.kind is Kind.RIGHT and len(tried) > 1:
        return replace(verdict, kind=Kind.PLAINER)
    return replace(found, seconds=verdict.seconds)


def _judged(program: Program) -> Verdict:
    started = time.process_time()
    try:
        with warnings.catch_warnings(record=True) as caught, mode_of(program):
            warnings.simplefilter("always")
            kind, message, trace = _tried(program, caught)
    except _Stop as stop:
        kind, message, trace = stop.kind, stop.message, stop.trace
    seconds = time.process_time() - started
    if kind is Kind.REFUSED and not is_true_reason(message, program):
        kind = Kind.UNKNOWN
    if kind in (Kind.RIGHT, Kind.REFUSED) and seconds > _SLOW:
        kind, message = Kind.SLOW, f"{seconds:.0f} s"
    after_export = re.search(r"pass '(?!decompose)", message) is not None
    if kind in (Kind.WRONG, Kind.CRASH) and not after_export and _is_pytorchs_own(program):
        kind = Kind.PYTORCH
    return Verdict(program.number, kind, message, round(seconds, 2), trace)


def _tried(program: Program, caught: list[warnings.WarningMessage]) -> tuple[Kind, str, str]:
    given, beside = _model_given(program)
    compiled = _stopping("", lambda: _compiled(program, given))
    on_gpu = program.case.executor == "tensorrt"
    if on_gpu:
        compiled = compiled.cuda() if program.case.frontend not in ("torch_compile", "dynamic") else compiled
    for index, dims in enumerate(program.sizes()):
        _compare(program, beside, compiled, dims, on_gpu)
        if index == 0:
            _check_left(caught)
    _check_left(caught)
    if program.case.saved:
        loaded = _stopping("saving: ", lambda: _saved_and_loaded(program, compiled))
        _, beside = _model_given(program)
        if on_gpu:
            loaded = loaded.cuda()
        for dims in program.sizes(3):
            _compare(program, beside, loaded, dims, on_gpu)
    return Kind.RIGHT, "", ""


class _Beside:
    """The model as PyTorch runs it, call after call; what it keeps between calls can be had again.

    Nothing is copied: not every module can be. Every model that `make` gives is the same. What runs on a GPU is
    compared with a model there, which draws other random numbers than one on the CPU; each call is tried on the CPU
    first, where an index that is out of range raises an error and does not end the process.
    """

    def __init__(self, program: Program, make: Callable[[], Any]) -> None:
        self._program, self._make = program, make
        self._gpu = program.case.executor == "tensorrt"
        self._model = make()
        self._model_on_gpu = _on_gpu(make()) if self._gpu else None
        self._calls: list[Mapping[str, int]] = []

    @property
    def calls(self) -> int:
        """How often it was called."""
        return len(self._calls)

    def call(self, dims: Mapping[str, int]) -> tuple[list[Any], str]:
        """The results at some sizes and the arguments after the call, as leaves, and the containers of the results."""
        self._calls.append(dims)
        results = self._results(self._model, dims)
        return results if self._model_on_gpu is None else self._results(self._model_on_gpu, dims)

    def again(self, rounding: contextlib.AbstractContextManager[Any]) -> list[Any]:
        """What the last call gives where one rounds otherwise; those before it are made as they were."""
        model = _on_gpu(self._make()) if self._gpu else self._make()
        *earlier, last = self._calls
        for dims in earlier:
            with contextlib.suppress(Exception):
                self._results(model, dims)
        with rounding:
            return self._results(model, last)[0]

    def _results(self, model: Any, dims: Mapping[str, int]) -> tuple[list[Any], str]:
        on_cpu = model is self._model or not self._gpu
        tensors = self._program.tensors(dims) if on_cpu else self._program.inputs(dims)
        args, kwargs = self._program.placed(tensors)
        seed_all(len(self._calls))
        results = model(*args, **kwargs)
        return [*pytree.tree_leaves(results), *tensors.values()], _structure(results)


def _model_given(program: Program) -> tuple[Any, _Beside]:
    """What is compiled, and an equal model that runs in PyTorch beside it."""
    if program.case.frontend != "script":
        return program.model(), _Beside(program, program.model)
    try:
        return torch.jit.script(program.model()), _Beside(program, lambda: torch.jit.script(program.model()))
    except Exception:
        try:
            return _traced(program), _Beside(program, program.model)
        except Exception as error:
            raise _Stop(Kind.REFUSED, f"torch.jit: {type(error).__name__}: {_first(error)}") from error


def _traced(program: Program) -> torch.jit.ScriptModule:
    model, (args, _) = program.model(), program.placed(program.inputs(program.sizes(1)[0]))
    model = model.cuda() if program.case.executor == "tensorrt" else model
    return torch.jit.trace(model, args, check_trace=False)


def _compiled(program: Program, model: Any) -> Any:
    case = program.case
    options = {**case.options, "executor": case.executor}
    if "enabled_precisions" in options:
        names = ["float32", *options["enabled_precisions"]]
        options["enabled_precisions"] = {getattr(torch, name) for name in names}
    torch._dynamo.reset()
    if case.executor == "tensorrt":
        model = _on_gpu(model)
    if case.frontend == "dynamic":
        # The function itself, since its name is known only where the package is installed.
        return torch.compile(model, backend=backend, dynamic=True, options=options)
    args, kwargs = program.placed(_declared(program))
    if case.frontend == "exported":
        exported = _exported(program, model)
        return tp.compile(exported, **options)
    ir = {"script": "ts"}.get(case.frontend, case.frontend)
    return tp.compile(model, args, kwarg_inputs=kwargs or None, ir=ir, **options)


def _on_gpu(model: Any) -> Any:
    try:
        return model.cuda()
    except RuntimeError as error:
        # PyTorch does not move parameters of some classes that anything else refers to.
        raise _Stop(Kind.PYTORCH, f"cuda(): {_first(error)}") from error


def _declared(program: Program) -> dict[str, Any]:
    """What is said about each argument: an example tensor, or its smallest, usual and largest sizes."""
    usual, *_ = program.sizes(3)
    if program.case.examples:
        return program.inputs(usual)
    ends = [{name: ends[index] for name, ends in program.ranges.items()} for index in range(3)]
    return {
        a.name: tp.Input(
            min_shape=a.sizes(ends[0]),
            opt_shape=a.sizes(ends[1]),
            max_shape=a.sizes(ends[2]),
            dtype=getattr(torch, a.dtype),
        )
        for a in program.arguments
    }


def _exported(program: Program, model: nn.Module) -> torch.export.ExportedProgram:
    """The model as a user exports it; what torch.export says is a true reason here."""
    try:
        return pytorch_alone.exported(program, model)
    except Exception as error:
        raise _Stop(Kind.REFUSED, f"torch.export: {type(error).__name__}: {_first(error)}") from error


def _saved_and_loaded(program: Program, compiled: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        script = isinstance(compiled, torch.jit.ScriptModule)
        path = os.path.join(folder, "model.ts" if script else "model.pt2")
        tp.save(compiled, path)
        return torch.jit.load(path) if script else tp.load(path)


def _stopping(where: str, action: Any) -> Any:
    """The result of an action; what it raises decides about the program."""
    try:
        return action()
    except _Stop:
        raise
    except UserError as error:
        sentence = where + str(error)
        raise _Stop(Kind.REFUSED, sentence) from error
    except Exception as error:
        cause = _user_error(error) or _assertion(error)
        if cause is not None:
            raise _Stop(Kind.REFUSED, where + str(cause)) from error
        message = f"{where}{type(error).__name__}: {_first(error)}"
        raise _Stop(Kind.CRASH, message, traceback.format_exc()) from error


def _user_error(error: BaseException | None) -> UserError | None:
    while error is not None:
        if isinstance(error, UserError):
            return error
        error = error.__cause__
    return None


def _assertion(error: Exception) -> str | None:
    """What the code of a compiled program in TorchScript, which raises nothing else, refuses a call for."""
    found = re.search(r"AssertionError: (the model was compiled for .*)", str(error))
    return found[1] if found and isinstance(error, torch.jit.Error) else None


def _check_left(caught: list[warnings.WarningMessage]) -> None:
    """Stop if torch.compile left a graph to PyTorch since a pass failed, or for a reason that is not known."""
    for item in caught:
        text = str(item.message)
        if "is left to PyTorch, because it cannot be compiled" in text:
            reason = text.partition("cannot be compiled: ")[2]
            if "pass '" in reason and "failed" in reason:
                raise _Stop(Kind.CRASH, reason)
            raise _Stop(Kind.REFUSED, f"left to PyTorch: {reason}")


def _compare(program: Program, beside: _Beside, compiled: Any, dims: Mapping[str, int], on_gpu: bool) -> None:
    try:
        want, shape_expected = beside.call(dims)
    except Exception:
        # TorchScript reads some Python otherwise; then there is nothing to compare with.
        return
    inputs = program.inputs(dims) if on_gpu else program.tensors(dims)
    args, kwargs = program.placed(inputs)
    where = f"at {dict(dims)}: " if dims else ""
    seed_all(beside.calls)
    found = _stopping(where, lambda: compiled(*args, **kwargs))
    shape_found = _structure(found)
    script = program.case.frontend in ("ts", "script")
    if shape_found != shape_expected and not script:
        raise _Stop(Kind.WRONG, f"{where}results {shape_found} instead of {shape_expected}")
    got = [*pytree.tree_leaves(found), *inputs.values()]
    if script:
        want, got = ([item for item in items if item is not None] for items in (want, got))
    text = difference(got, want)
    if not text:
        return

    def again(rounding: contextlib.AbstractContextManager[Any]) -> list[Any]:
        leaves = beside.again(rounding)
        return [item for item in leaves if item is not None] if script else leaves

    lower = [getattr(torch, name) for name in program.case.options.get("enabled_precisions", ())]
    if program.case.options.get("truncate_double"):
        lower.append(torch.float32)
    least = lower[0] if lower else None
    same_length = len(got) == len(want)
    if same_length and is_rounding(got, want, again, least=least, tf32=on_gpu):
        return
    raise _Stop(Kind.WRONG, f"{where}{text}")


def _structure(results: Any) -> str:
    """The containers of results; a class of the program is the same whichever copy of its text was run."""
    return re.sub(r"random_program_\d+", "program", str(pytree.tree_structure(results)))


def _is_pytorchs_own(program: Program) -> bool:
    """Whether PyTorch's own front end, without this package, fails as well, is as wrong, or tells wrong sizes."""
    frontend = program.case.frontend
    try:
        with warnings.catch_warnings(), mode_of(program):
            warnings.simplefilter("ignore")
            program = program.with_case(executor="pytorch")
            torch._dynamo.reset()
            if frontend in ("torch_compile", "dynamic"):
                dynamic = frontend == "dynamic" or None
                alone: Any = torch.compile(program.model(), backend="aot_eager", dynamic=dynamic)
            elif frontend in ("dynamo", "exported", "ts"):
                exported = _exported(program, program.model())
                alone = exported.run_decompositions({}).module()
            elif frontend == "script":
                alone = _model_given(program)[0]
            else:
                return False
            beside = _model_given(program)[1]
            for dims in program.sizes():
                _compare(program, beside, alone, dims, False)
            return frontend in ("dynamo", "exported", "ts") and pytorch_alone.sizes_differ(program, alone)
    except _Stop as stop:
        return not stop.message.startswith("torch.export: ")
    except Exception:
        return True


def _first(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else ""


def judged_file(path: Path) -> Verdict:
    """The verdict on a program that was written to a file."""
    return judged(Program.from_file(path))
