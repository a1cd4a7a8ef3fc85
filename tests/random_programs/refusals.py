"""Sentences by which programs are refused for a true reason: what PyTorch's own front ends do not take."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from .program import Program
from .pytorch_alone import (
    branches_differ,
    call_of_script_fails,
    conversion_fails,
    export_fails,
    ranges_fail,
    saving_fails,
    scripting_fails,
    symbolic_trace_fails,
)


def _always(program: Program) -> bool:
    return True


def _has_wrappers(program: Program) -> bool:
    return any(name in program.source() for name in ("Summed(", "quantized("))


def _export_or_ranges_fail(program: Program) -> bool:
    return ranges_fail(program) or export_fails(program)


def _assigns_to_itself(program: Program) -> bool:
    return any(re.search(r"\bself\.\w+ (=|[-+*/&|]=) ", line.text) for line in program.lines)


def _is_viewed_as_another_type(program: Program) -> bool:
    return ".view(torch." in program.source()


def _draws_in_python(program: Program) -> bool:
    return re.search(r"\brandom\.\w+\(", program.source().partition("class Model")[2]) is not None


def _returns_text(program: Program) -> bool:
    return "'text'" in program.returned


def _gives_gradients(program: Program) -> bool:
    return program.case.mode == "grad" and any(argument.kind == "grad" for argument in program.arguments)


def _lies_otherwise(program: Program) -> bool:
    return any(argument.layout != "contiguous" for argument in program.arguments)


TRUE_REASONS: tuple[tuple[str, Callable[[Program], bool]], ...] = (
    # PyTorch's own call raised, before this package was asked.
    (r"^torch\.export: |^torch\.jit: ", _always),
    # A compiled program writes numbers to its inputs, and no more.
    (r"^the model changes the shape, strides or memory of ", _always),
    # Symbolic tracing runs no Python that depends on values or sizes, and does not see all that is written.
    (r"^torch\.fx cannot trace the model", symbolic_trace_fails),
    (r"^the model replaces its attribute .* which torch\.fx does not record", _assigns_to_itself),
    (r"which torch\.fx does not record", symbolic_trace_fails),
    # torch.export must know what a condition on a value is, and what is not a tensor.
    (r"^the model decides by a value of a tensor( at \S+)?, which torch\.export", export_fails),
    (r"^(torch\.export rejects the model|the model itself raises)", export_fails),
    (r"^the model does not take these inputs: ", export_fails),
    # PyTorch gives a view of contiguous tensors and a copy of others, and the model writes to it.
    (r"^(at \{.*?\}: )?(input '.*' has strides .*, and )?the model was compiled for a tensor that", _lies_otherwise),
    # The model allows fewer sizes than were declared.
    (r"^input '.*' dimension \d+ is declared as .*, but (the model|torch\.export)", _export_or_ranges_fail),
    (r"^the model does not allow the range", _export_or_ranges_fail),
    (r"^the model does not do the same for all declared sizes: ", branches_differ),
    # A graph holds what Python drew when it was made.
    (r"^the model computes with random numbers that '(numpy\.)?random' draws in Python", _draws_in_python),
    # PyTorch's format of files has no texts among results.
    (r"^saving: the model returns the text ", _returns_text),
    # Engines have no gradients.
    (r"^its results require grad: ", _gives_gradients),
    # PyTorch's converter of TorchScript.
    (r"^the TorchScript model cannot be converted as a whole", conversion_fails),
    (r"^the TorchScript model raises when it is called with ", call_of_script_fails),
    (r"^the TorchScript model cannot be compiled in blocks, since it cannot be saved", saving_fails),
    # TorchScript has no view of a tensor as another type.
    (r"cannot be written as TorchScript: Arguments for call are not valid", _is_viewed_as_another_type),
    # Saving such a module, of which blocks are a copy, ends PyTorch 2.11 and its process.
    (r"^TorchScript cannot save \S+, which is a (Summed|Quantized)", _has_wrappers),
    # What stays in PyTorch must be written as TorchScript there.
    (r"^\w+ is a part of the model that TorchScript cannot call: ", scripting_fails),
)
"""Pattern, and whether the reason is true of a program: PyTorch alone refuses it too."""

_ALLOWED = re.compile(
    r"^input '(?P<name>\w+)' dimension (?P<dim>\d+) is declared as .*, but "
    r"(torch\.export found that the model allows (?P<low>\d+)\.\.(?P<high>\d+)|the model fixes it to (?P<only>\d+))"
)


_NOT_AT = re.compile(r"^the model does not do the same .* for (?P<name>\w+)\.shape\[(?P<dim>\d+)\] = (?P<size>\d+)")


def is_true_reason(sentence: str, program: Program) -> bool:
    """Whether a refusal is one of those known to be right, and true of the program."""
    sentence = sentence.removeprefix("left to PyTorch: ")
    return any(re.search(pattern, sentence) and holds(program) for pattern, holds in TRUE_REASONS)


def as_allowed(sentence: str, program: Program) -> Program | None:
    """The program with the sizes, or contiguous tensors, that a refusal asks for, if it does."""
    if ".contiguous(), or compile" in sentence:
        plain = tuple(replace(argument, layout="contiguous") for argument in program.arguments)
        return replace(program, arguments=plain)
    return _with_allowed_sizes(sentence, program)


def _with_allowed_sizes(sentence: str, program: Program) -> Program | None:
    found = _ALLOWED.search(sentence) or _NOT_AT.search(sentence)
    argument = next((a for a in program.arguments if found and found["name"] in _names(a.name, a.place)), None)
    if found is None or argument is None:
        return None
    name = argument.shape[int(found["dim"])]
    if name not in program.ranges:
        return None
    low, usual, high = program.ranges[str(name)]
    if found.re is _NOT_AT:
        if int(found["size"]) != low or low == high:
            return None
        low += 1
    else:
        allowed = [int(found["only"] or found[end]) for end in ("low", "high")]
        low, high = max(low, allowed[0]), min(high, allowed[1])
        if low > high:
            return None
    return replace(program, ranges={**program.ranges, str(name): (low, min(max(usual, low), high), high)})


def _names(name: str, place: str) -> tuple[str, ...]:
    return (f"batch_{name}",) if place == "dict" else (name,)


def kind_of(sentence: str) -> str:
    """A sentence without what differs from program to program: numbers, quoted names, places."""
    text = sentence.strip().splitlines()[0] if sentence.strip() else ""
    text = re.sub(r"^(saving: )?at \{.*?\}: ", "at a call: ", text)
    text = re.sub(r"\((-?\d+(, )?,?)*\)", "(N)", text)
    text = re.sub(r"<random_program_\d+>|\S*random_program\S*", "FILE", text)
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'…'", text)
    text = re.sub(r"\b[a-z]+_?\d+\b", "N", text)
    return re.sub(r"-?\d+(\.\d+)?", "N", text)[:220]
