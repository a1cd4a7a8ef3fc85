"""Random TorchScript programs, with what only TorchScript has: against the original, over calls that keep state.

    python -m tests.random_programs.scripted [--first 0] [--count 50] [--seconds 600] [--elsewhere] [--show NUMBER]

Every program follows from its number: branches and loops on sizes, numbers, texts and tensors, lists, dictionaries,
tuples, Optional, enumerations, writes in place, returns, attributes that change, modules with state and several
methods, behind an interface, traced, in halves and quantised. Some are frozen or changed for inference, as files are.
All of them can be scripted, and none may be refused. Each is compiled as `tp.compile` does and in blocks, some for two
methods, saved and loaded, and called with another method between that changes state. Of five, one is given an Optional,
and one a tuple with a list in it too.

0 unless a program is wrong, crashes or is refused.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import trt_passes as tp
from torch.utils import _pytree as pytree
from trt_passes.compiler.frontends.torchscript.blocks import Asked, script_of_blocks
from trt_passes.compiler.frontends.torchscript.observed import LOST
from trt_passes.compiler.manager import compile_program
from trt_passes.compiler.settings import Settings

from tests.random_programs.elsewhere import Elsewhere
from tests.random_programs.scripted_lines import CONDITIONS, EXPRESSIONS, HEAD, LOOPS, RESULTS, SIMPLE, START, TENSORS
from tests.reloading import reloaded

SIZES = (3, 1, 6, 2, 3, 9)
"""Rows of the calls; the last are more than were declared, which only a model in blocks takes."""

ROWS = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4))


def signature(number: int) -> list[Any]:
    """What the program of a number is compiled for: of five, one is given an Optional, and one a nested state too."""
    kinds = {1: [ROWS, 1.5, 2, ROWS], 3: [ROWS, 1.5, 2, ROWS, (ROWS, [ROWS, ROWS])]}
    return kinds.get(number % 5, [ROWS])


def arguments(number: int, rows: int, generator: torch.Generator) -> list[Any]:
    """Arguments of a call, as declared by `signature`, with this many rows."""

    def made(leaf: Any) -> Any:
        return torch.randn(rows, 4, generator=generator) if isinstance(leaf, tp.Input) else leaf

    return pytree.tree_map(made, signature(number), is_leaf=lambda leaf: isinstance(leaf, tp.Input))


@dataclass
class _Writer:
    choice: random.Random
    lines: list[str] = field(default_factory=list)
    result: str = "y"

    def filled(self, text: str) -> str:
        pick = self.choice.choice
        for _ in range(3):  # expressions and conditions have slots of their own
            for slot, choices in (("{e}", EXPRESSIONS), ("{c}", CONDITIONS)):
                while slot in text:
                    text = text.replace(slot, pick(choices), 1)
        slots: dict[str, Callable[[], str]] = {
            "{v}": lambda: pick(TENSORS[1:]),
            "{t}": lambda: pick(TENSORS),
            "{u}": lambda: pick(TENSORS),
            "{f}": lambda: pick(("f", "0.3", "self.scale", "-0.7", "factor")),
            "{n}": lambda: pick(("n", "len(s)", "self.calls", "2", "self.part.count")),
            "{k}": lambda: pick(("1", "2", "3")),
            "{i}": lambda: pick(("0", "1")),
            "{j}": lambda: pick(("0", "-1")),
        }
        for slot, value in slots.items():
            text = text.replace(slot, value())
        return text.replace("{{", "{").replace("}}", "}")

    def add(self, text: str, depth: int) -> None:
        self.lines += ["    " * depth + line for line in text.splitlines()]

    def block(self, depth: int, count: int) -> None:
        for _ in range(count):
            draw = self.choice.random()
            if draw < 0.16 and depth < 3:
                self.add(self.filled("if {c}:"), depth)
                self.block(depth + 1, self.choice.randint(1, 3))
                if self.choice.random() < 0.12:
                    self.add(f"return {self.result}", depth + 1)
                elif self.choice.random() < 0.5:
                    self.add("else:", depth)
                    self.block(depth + 1, self.choice.randint(1, 2))
            elif draw < 0.26 and depth < 2:
                self.loop(depth)
            else:
                weights, texts = zip(*SIMPLE, strict=True)
                self.add(self.filled(self.choice.choices(texts, weights)[0]), depth)

    def loop(self, depth: int) -> None:
        if self.choice.random() < 0.3:
            self.add(self.filled("left = {k} + n % 3\nwhile left > 0 and bool({t}.abs().sum() < 1e6):"), depth)
            self.add("left -= 1", depth + 1)
        else:
            layer = f"layer{len(self.lines)}"  # a name of its own: TorchScript assigns modules once only
            self.add(self.filled(self.choice.choice(LOOPS)).replace("layer", layer), depth)
        if "layer" in self.lines[-1]:  # unrolled, so that nothing can leave it
            self.add(self.filled("{v} = LAYER({t}) + index").replace("LAYER", layer), depth + 1)
        elif self.choice.random() < 0.3:
            self.add(self.filled("if {c}:\n    ") + self.choice.choice(("break", "continue")), depth + 1)
        self.block(depth + 1, self.choice.randint(1, 3))


def source(number: int) -> str:
    """The program of a number."""
    writer = _Writer(random.Random(number))
    writer.result = writer.choice.choice(RESULTS)
    writer.add(START, 0)
    writer.block(0, writer.choice.randint(3, 10))
    writer.add(f"return {writer.result}", 0)
    head = HEAD
    if number % 3:  # state that other methods share is never whole
        for name in ("mixed", "update"):
            head = head.replace(f"    @torch.jit.export\n    def {name}(", f"    def {name}(")
    return head + "".join(f"        {line}\n" for line in writer.lines)


def scripted(number: int) -> Any:
    """The program of a number as TorchScript: of ten, one is frozen, and one is changed for inference."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"scripted_{number}.py"
        path.write_text(source(number))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        script = torch.jit.script(module.Model().eval())
    if number % 10 == 7:
        return torch.jit.freeze(script)
    return torch.jit.optimize_for_inference(script) if number % 10 == 3 else script


@torch.no_grad()
def problem(number: int, elsewhere: Elsewhere | None = None) -> str | None:
    """What is wrong with what becomes of a program, in another process too where there is one; None if nothing is."""
    try:
        script = scripted(number)
    except RuntimeError as error:
        if "INTERNAL ASSERT" in str(error):  # PyTorch itself, where it scripts, freezes or changes for inference
            return None
        return f"is no TorchScript: {' '.join(str(error).split())[:300]}"
    original = copy.deepcopy(script)  # what is compiled as a whole writes to the buffers of its model
    settings = Settings.from_options({"executor": "reference", "min_block_size": 1})

    def compiled(name: str, program: tp.Program, settings: Settings) -> Any:
        return compile_program(program, settings)

    given = signature(number)
    methods = {"forward": given, "update": [ROWS, 2]}
    ways: dict[str, Callable[[], Any]] = {
        "compiled": lambda: tp.compile(copy.deepcopy(script), given, executor="reference", min_block_size=1),
        "in blocks": lambda: script_of_blocks(copy.deepcopy(script), given, {}, settings, compiled, Asked("asked for")),
        "methods": lambda: tp.compile(copy.deepcopy(script), methods=methods, executor="reference", min_block_size=1),
    }
    if not hasattr(script, "update"):
        del ways["methods"]
    whole = True
    for way, make in ways.items():
        if way == "in blocks" and not whole:
            continue
        try:
            result = make()
        except Exception as error:
            return f"{way}: {type(error).__name__}: {error}"
        whole = not hasattr(result.report, "whole")
        fresh = copy.deepcopy(result) if elsewhere is not None else None
        for kind, tried in ((way, result), (f"{way}, saved and loaded", reloaded(result))):
            found = _difference(number, tried, copy.deepcopy(original), SIZES[:-1] if whole else SIZES)
            if found is not None:
                return f"{kind}: {found}"
        if elsewhere is not None:
            found = _difference_elsewhere(number, fresh, copy.deepcopy(original), elsewhere, whole)
            if found is not None:
                return f"{way}, in another process: {found}"
    return None


def _difference_elsewhere(number: int, script: Any, original: Any, elsewhere: Elsewhere, whole: bool) -> str | None:
    """The same of a file that another process opens."""
    generator = torch.Generator().manual_seed(1)
    sizes = SIZES[:-1] if whole else SIZES
    calls = [
        (arguments(number, rows, generator), place % 3 == 2 and hasattr(original, "update"))
        for place, rows in enumerate(sizes)
    ]
    found = elsewhere.results(script, copy.deepcopy(calls))
    for place, ((given, change), ours) in enumerate(zip(calls, found, strict=True)):
        theirs = _called(original, given, change)
        if isinstance(theirs, str) and any(lost in theirs for lost in LOST):
            return None
        if isinstance(theirs, str) or isinstance(ours, str):
            if type(ours) is not type(theirs):
                return f"call {place}: {ours!r:.300}, not {theirs!r:.300}"
            continue
        leaves = [getattr(leaf, "name", leaf) for leaf in pytree.tree_leaves(theirs)]
        unlike = _unlike(ours, leaves)
        if unlike is not None:
            return f"call {place}: {unlike}"
    return None


def _difference(number: int, found: Any, original: Any, sizes: Sequence[int]) -> str | None:
    """How the results of calls differ from those of the original."""
    generator = torch.Generator().manual_seed(1)
    for call, rows in enumerate(sizes):
        given = arguments(number, rows, generator)
        # After every third call, another method changes what they share.
        change = call % 3 == 2 and hasattr(original, "update")
        ours, theirs = _called(found, given, change), _called(original, given, change)
        if isinstance(theirs, str) and any(lost in theirs for lost in LOST):
            # PyTorch's interpreter loses what a branch with a loop gives; which state there is then is open.
            return None
        if isinstance(theirs, str) or isinstance(ours, str):
            if type(ours) is not type(theirs):
                return f"call {call} with {rows} rows: {ours!r:.300}, not {theirs!r:.300}"
            continue
        first, second = pytree.tree_leaves(ours), pytree.tree_leaves(theirs)
        if list(map(type, first)) != list(map(type, second)):
            return f"call {call} with {rows} rows: other types: {first!r:.200}, not {second!r:.200}"
        unlike = _unlike(first, second)
        if unlike is not None:
            return f"call {call} with {rows} rows: {unlike}"
    return None


def _unlike(ours: Sequence[Any], theirs: Sequence[Any]) -> str | None:
    """How leaves of results differ from those of the original; None if they are close."""
    try:
        for a, b in zip(ours, theirs, strict=True):
            if b is None or isinstance(b, str):
                assert a == b, f"{a!r}, not {b!r}"
            else:
                torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3, equal_nan=True)
    except (AssertionError, ValueError) as error:
        return " ".join(str(error).split())[:300]
    return None


def _called(script: Any, given: Sequence[Any], change: bool) -> Any:
    """What a call gives, and the method that changes state after it; what one raises, as text."""
    try:
        result = script(*copy.deepcopy(list(given)))
        return (result, script.update(given[0])) if change else result
    except RuntimeError as error:
        return f"raises {' '.join(str(error).split())[-200:]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Try programs, and print those that fail."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--elsewhere", action="store_true", help="open saved files in another process, too")
    parser.add_argument("--show", type=int, help="print the program of a number")
    options = parser.parse_args(arguments)
    if options.show is not None:
        print(source(options.show))
        return 0
    until, failures, tried = time.monotonic() + options.seconds, 0, 0
    with Elsewhere() if options.elsewhere else nullcontext() as elsewhere:
        for number in range(options.first, options.first + options.count):
            if time.monotonic() > until:
                break
            tried += 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = problem(number, elsewhere)
            if found is not None:
                failures += 1
                print(f"{number}: {found}", flush=True)
            if tried % 20 == 0:
                print(f"{tried} programs, {failures} failures so far", file=sys.stderr, flush=True)
    print(f"{tried} programs, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
