"""Make a failing program short: leave out what it does not need to fail in the same way."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from .program import Line, Program, mode_of


def minimised(program: Program, fails: Callable[[Program], bool], seconds: float = 120.0) -> Program:
    """The shortest program found within some time of which `fails` is still true.

    Args:
        program: one that fails.
        fails: whether a program fails in the same way; called for programs that PyTorch runs.
        seconds: after which the shortest so far is given.
    """
    until = time.monotonic() + seconds
    again = True
    while again and time.monotonic() < until:
        again = False
        for candidate in _shorter(program):
            if time.monotonic() > until:
                break
            if _size(candidate) < _size(program) and _runs(candidate) and fails(candidate):
                program, again = candidate, True
                break
    return program


def _size(program: Program) -> tuple[int, int, int]:
    options = len(program.case.options) + program.case.saved + sum(a.layout != "contiguous" for a in program.arguments)
    options += sum((a.place != "positional") + (a.kind != "tensor") for a in program.arguments)
    options += (program.case.frontend != "dynamo") + (program.case.mode != "no_grad") + len(program.defaults)
    lines = sum(line.text.count("\n") + 1 for line in program.lines)
    ranges = sum(low != high for low, _, high in program.ranges.values())
    return lines * 3 + len(program.layers) + len(program.arguments), ranges + options, len(program.returned)


def _shorter(program: Program) -> Iterator[Program]:
    """Programs with less in them, those with much less first."""
    names = [name for line in program.lines for name in line.makes]
    for name in [*reversed(names), *(a.name for a in program.arguments)]:
        if program.returned != name:
            yield _pruned(replace(program, returned=name))
    half = len(program.lines) // 2
    for size in (half, half // 2, 1):
        if size < 1:
            continue
        for start in range(0, len(program.lines), size):
            rest = program.lines[:start] + program.lines[start + size :]
            yield _pruned(replace(program, lines=rest))
    for index, line in enumerate(program.lines):
        # The result of a line is one of the variables that it reads.
        if len(line.makes) == 1:
            known = [*(a.name for a in program.arguments), *(n for item in program.lines[:index] for n in item.makes)]
            for name in dict.fromkeys(re.findall(r"\w+", line.text)):
                if name in known and line.text != f"{line.makes[0]} = {name}":
                    yield _renamed(program, index, name)
    if program.case.saved:
        yield program.with_case(saved=False)
    if program.case.frontend != "dynamo":
        yield program.with_case(frontend="dynamo")
    if program.case.mode != "no_grad":
        yield program.with_case(mode="no_grad")
    for default in program.defaults:
        yield replace(program, defaults=tuple(text for text in program.defaults if text != default))
    for key in program.case.options:
        if key != "min_block_size":
            yield program.with_case(options={k: v for k, v in program.case.options.items() if k != key})
    for name, (low, usual, high) in program.ranges.items():
        if low != high:
            yield replace(program, ranges={**program.ranges, name: (usual, usual, usual)})
    for index, argument in enumerate(program.arguments):
        for plain in ({"layout": "contiguous"}, {"place": "positional"}, {"kind": "tensor"}):
            plainer = replace(argument, **plain)
            if plainer != argument:
                yield replace(program, arguments=(*program.arguments[:index], plainer, *program.arguments[index + 1 :]))


def _renamed(program: Program, index: int, name: str) -> Program:
    """Without a line, whose variable another takes the place of."""
    made = program.lines[index].makes[0]

    def swapped(text: str) -> str:
        return re.sub(rf"(?<![\w.]){made}\b", name, text)

    rest = tuple(Line(swapped(line.text), line.makes) for line in program.lines[index + 1 :])
    return _pruned(replace(program, lines=program.lines[:index] + rest, returned=swapped(program.returned)))


def _pruned(program: Program) -> Program:
    """Without layers and arguments that nothing mentions, but for the first argument."""
    text = "\n".join([*(line.text for line in program.lines), program.returned])
    words = set(re.findall(r"\w+", text))
    layers = tuple(item for item in program.layers if set(re.findall(r"\blayer\d+\b", item)) & words)
    arguments = tuple(a for a in program.arguments if a.name in words) or program.arguments[:1]
    used = {item for argument in arguments for item in argument.shape if isinstance(item, str)}
    ranges = {name: ends for name, ends in program.ranges.items() if name in used}
    return replace(program, layers=layers, arguments=arguments, ranges=ranges)


def _runs(program: Program) -> bool:
    """Whether PyTorch runs it."""
    try:
        with mode_of(program):
            for dims in program.sizes(3):
                args, kwargs = program.placed(program.tensors(dims))
                program.model()(*args, **kwargs)
    except Exception:
        return False
    return True
