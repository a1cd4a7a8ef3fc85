"""One sample through the whole pipeline: export, one engine, its network evaluated, compared with eager."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree
from trt_passes.compiler.errors import PassFailure, UserError
from trt_passes.compiler.frontends.exported_program import trace
from trt_passes.compiler.ir.annotations import verdict_of
from trt_passes.compiler.ir.input import Input
from trt_passes.compiler.ir.ledger import Verdict
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.ir.text import op_name
from trt_passes.compiler.manager import run
from trt_passes.compiler.settings import Settings
from trt_passes.compiler.tensorrt.engine_builder import BuildError
from trt_passes.passes.convert import SegmentFailed

from tests.oracle import TOLERANCES, compare

from .catalog import UNINITIALIZED
from .outcome import Kind, Outcome
from .samples import SEED, Sample, copy_of, seed
from .second_opinions import second_opinion
from .ties import UNSTABLE, settled

SETTINGS = Settings(
    min_block_size=1,
    require_full_compilation=True,
    pass_through_build_failures=True,
    truncate_double=True,
    executor="reference",
)

Tensors = Sequence[torch.Tensor]


def static_outcome(sample: Sample) -> Outcome:
    """A sample with the sizes that it has."""
    try:
        expected = eager(sample, sample.tensors)
    except Exception as error:
        return Outcome(Kind.NOT_APPLICABLE, f"eager: {first_line(error)}")
    if not comparable(expected):
        return Outcome(Kind.NOT_APPLICABLE, "a result is not a dense tensor of a type that TensorRT knows")
    try:
        exported = torch.export.export(sample.module, sample.copies(), strict=False)
    except Exception as error:
        return Outcome(Kind.NOT_EXPORTED, first_line(error))
    return compiled_outcome(sample, exported, None, [sample.tensors])


def eager(sample: Sample, tensors: Tensors, start: int = SEED) -> Any:
    """What PyTorch computes, with random numbers that depend on `start` only."""
    seed(start)
    with torch.no_grad():
        return sample.module(*map(copy_of, tensors))


def comparable(result: Any) -> bool:
    """Whether a result can be compared: dense, on the CPU, and real."""
    tensors = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    return all(t.layout is torch.strided and not t.is_complex() and not t.is_quantized for t in tensors)


def first_line(error: BaseException) -> str:
    """An error as one line of at most 300 characters: its first, or what an assertion says about the numbers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    shown = " ".join(lines[:4]) if isinstance(error, AssertionError) else " ".join(lines[:1])
    return f"{type(error).__name__}: {shown}"[:300]


def compiled_outcome(
    sample: Sample, exported: ExportedProgram, inputs: Sequence[Input] | None, corners: Sequence[Tensors]
) -> Outcome:
    """An exported sample as one engine, evaluated with the tensors of every corner."""
    try:
        program = run(trace(exported, inputs), "decompose,lower,annotate", SETTINGS).program
    except Exception as error:
        return Outcome(Kind.WRONG, f"before partition: {first_line(error)}")
    targets = tuple(sorted({op_name(node.target) for node in program.op_nodes}))
    taken = any(verdict_of(node) is Verdict.TRT for node in program.op_nodes)
    if not targets or (targets == ("aten._to_copy",) and not taken):
        return Outcome(Kind.NOT_APPLICABLE, "nothing is left to compute, but to cast to a type that TensorRT has not")
    try:
        compiled = run(program, "partition,convert,build,splice", SETTINGS).compiled
    except Exception as error:
        return _refusal(error, program, targets)
    assert compiled is not None
    if _is_random(sample, exported):
        return Outcome(Kind.WRONG, "random numbers would be baked into an engine", targets=targets)
    return replace(_compared(sample, compiled, corners), targets=targets)


def _refusal(error: Exception, program: Program, targets: tuple[str, ...]) -> Outcome:
    refused = {op_name(node.target) for node in program.op_nodes if verdict_of(node) is not Verdict.TRT}
    cause = error.__cause__ if isinstance(error, PassFailure) else error
    if isinstance(cause, SegmentFailed):
        nodes = program.nodes_by_name
        text = "; ".join(f"{reason.code} {reason.message}" for reason in cause.failures.values())
        names = tuple(sorted({op_name(nodes[name].target) for name in cause.failures}))
        raw = any(re.match(r"[A-Za-z.]*(Error|Exception|Exit|Iteration): ", r.message) for r in cause.failures.values())
        return Outcome(Kind.WRONG if raw else Kind.REFUSED, text[:600], _codes(text), names)
    if isinstance(cause, BuildError):
        errors = " ".join("; ".join(cause.errors).split())
        return Outcome(Kind.WRONG, f"not built: {errors}"[:600], targets=targets)
    if not isinstance(cause, UserError):
        return Outcome(Kind.WRONG, first_line(cause or error), targets=targets)
    lines = str(cause).splitlines()[1:]
    text = "; ".join(line.strip() for line in lines)
    if _codes(text) == ("TP304",):
        return Outcome(Kind.NOT_APPLICABLE, "the result is a constant")
    if not _codes(text):
        return Outcome(Kind.WRONG, f"refused without a reason: {cause}"[:600], targets=targets)
    return Outcome(Kind.REFUSED, text[:600], _codes(text), tuple(sorted(refused)) or targets)


def _codes(text: str) -> tuple[str, ...]:
    return tuple(sorted(set(re.findall(r"\bTP\d{3}\b", text))))


def _is_random(sample: Sample, exported: ExportedProgram) -> bool:
    """Whether the results depend on the state of the random number generator; dropout with probability 0 does not."""
    targets = [node.target for node in exported.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    if not any(torch.Tag.nondeterministic_seeded in target.tags for target in targets):
        return False
    first, second = (eager(sample, sample.tensors, start) for start in (SEED, SEED + 1))
    try:
        agree(first, second)
    except AssertionError:
        return True
    return False


def _compared(sample: Sample, compiled: Callable[..., Any], corners: Sequence[Tensors]) -> Outcome:
    for tensors in corners:
        expected = eager(sample, tensors)
        shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors)
        try:
            actual = compiled(*map(copy_of, tensors))
            if sample.operator in UNSTABLE and "stable=True" not in sample.text:
                actual = settled(tensors[0], actual, expected)
            _agree_with_either(sample, tensors, actual, expected)
        except Exception as error:
            return Outcome(Kind.WRONG, f"with inputs {shapes}: {first_line(error)}")
    return Outcome(Kind.RIGHT)


def _agree_with_either(sample: Sample, tensors: Tensors, actual: Any, expected: Any) -> None:
    try:
        agree(actual, expected, values=sample.operator not in UNINITIALIZED)
    except AssertionError:
        other = second_opinion(sample, tensors, expected)
        if other is None:
            raise
        agree(actual, other)


def agree(actual: Any, expected: Any, *, values: bool = True) -> None:
    """Raise AssertionError unless the results have equal structure, types and shapes, and close values."""
    got, want = pytree.tree_leaves(actual), pytree.tree_leaves(expected)
    assert len(got) == len(want), f"{len(got)} results, expected {len(want)}"
    for index, (left, right) in enumerate(zip(got, want, strict=True)):
        if not isinstance(right, torch.Tensor):
            assert left == right, f"result {index}: {left!r}, expected {right!r}"
            continue
        assert isinstance(left, torch.Tensor), f"result {index}: {type(left).__name__}, expected a tensor"
        if not values:
            left = torch.zeros_like(left)
            right = torch.zeros_like(right)
        # Under truncate_double a float64 result is as exact as a float32 one.
        compare(left, right, f"result {index}", TOLERANCES[torch.float32] if right.dtype is torch.float64 else None)
