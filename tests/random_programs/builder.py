"""`Builder`: a program that grows line by line, each of which has been run in PyTorch at all ends of the ranges."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.subclasses import Quantized, Summed

from .program import Line, Program, load_module, mode_of, seed_all, settled

_LARGEST = {torch.float16: 500.0, torch.bfloat16: 1e4}
_MOST_ELEMENTS = 6000
_SLOT = re.compile(r"\{(\w+)\}")

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class Unfit(Exception):
    """A line does not fit here: nothing for one of its slots, or PyTorch refuses it, or its values are no use."""


class Builder:
    """A program in the making, with the values of its variables at several sizes.

    A line is a template with slots in braces, each filled at random:

    - `{x}` a float tensor, `{i}` whole numbers, `{b}` booleans, `{t}` any tensor, each with an optional rank as in
      `{x3}`; a second letter makes another choice (`{xb}`); a name used twice is one choice;
    - `{d}` a dimension of the first tensor, `{D1}` its size in dimension 1 if that is fixed (`{Dl}`: in the last),
      `{S}` a size of it as an expression;
    - `{n}` a whole number known on the host, as an expression; `{k}` a small constant, `{p}` a positive one,
      `{c}` a float constant, `{s}` a slice, `{o}` a new fixed size.
    """

    def __init__(self, program: Program, corners: Sequence[Mapping[str, int]], choice: random.Random) -> None:
        self.program, self.choice = program, choice
        self.layers: list[str] = []
        self.lines: list[Line] = []
        self.unused: list[str] = []
        self._corners = list(corners)
        self._counts: dict[str, int] = {}
        self._module = load_module(program.source())
        self._seeds: list[int] = []
        self._restart()

    # What there is.

    def _restart(self) -> None:
        """Run all lines anew, as they were kept: a refused one may have written to tensors."""
        self.values: list[dict[str, Any]] = []
        for dims in self._corners:
            self.values.append(self._names(self.program.tensors(dims), self._made()))
        for line in self.lines:
            for values in self.values:
                with mode_of(self.program):
                    _execute(line.text, values)

    def _names(self, tensors: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
        defaults = {text.partition(":")[0]: eval(text.rpartition("= ")[2]) for text in self.program.defaults}
        return {
            **defaults,
            **vars(self._module),
            "torch": torch,
            "F": F,
            "nn": nn,
            "math": math,
            **tensors,
            "self": model,
        }

    @property
    def variables(self) -> list[str]:
        """The arguments, and what lines have made, in order."""
        given = [a.name for a in self.program.arguments] + [t.partition(":")[0] for t in self.program.defaults]
        return given + [name for line in self.lines for name in line.makes]

    def value(self, name: str) -> Any:
        """The value of a variable at the usual sizes."""
        return self.values[0][name]

    def tensors(self, test: Callable[[Tensor], bool]) -> list[str]:
        """The variables that are tensors of which `test` is true."""
        return [
            name
            for name in self.variables
            if all(_is_plain(values[name]) for values in self.values) and test(self.value(name))
        ]

    def pick(self, names: Sequence[str]) -> str:
        """One of the names, rather a late one, or one that nothing reads yet."""
        if not names:
            raise Unfit("nothing fits")
        weights = [1 + index + (6 if name in self.unused else 0) for index, name in enumerate(names)]
        return self.choice.choices(list(names), weights)[0]

    def fixed(self, name: str, dim: int) -> int:
        """The size of a tensor in a dimension, if it is the same at all sizes."""
        if not all(_is_plain(values[name]) for values in self.values):
            raise Unfit(f"{name} is no tensor at some sizes")
        rank = min(values[name].dim() for values in self.values)
        if not -rank <= dim < rank:
            raise Unfit(f"{name} has no dimension {dim}")
        sizes = {values[name].shape[dim] for values in self.values}
        if len(sizes) != 1 or self._is_named(name, dim):
            raise Unfit(f"{name} has no fixed size {dim}")
        return int(sizes.pop())

    def _is_named(self, name: str, dim: int) -> bool:
        return any(a.name == name and isinstance(a.shape[dim], str) for a in self.program.arguments)

    # What is added.

    def new(self, prefix: str) -> str:
        """A new name."""
        self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return f"{prefix}{self._counts[prefix]}"

    def layer(self, text: str, prefix: str = "layer") -> str:
        """A new attribute of the module, such as "self.layer1", made by an expression."""
        name = self.new(prefix)
        statement = f'self.register_buffer("{name}", {text})' if text.startswith("torch.") else f"self.{name} = {text}"
        seed = self.choice.randrange(1 << 30)
        try:
            for values in self.values:
                self._attach(values["self"], statement, seed)
        except Exception as error:
            raise Unfit(str(error)) from error
        self.layers.append(statement)
        self._seeds.append(seed)
        return f"self.{name}"

    def _made(self) -> nn.Module:
        """A new module with all layers, whose weights are always the same; not every module can be copied."""
        module = nn.Module()
        for statement, seed in zip(self.layers, self._seeds, strict=True):
            self._attach(module, statement, seed)
        return module

    def _attach(self, owner: nn.Module, statement: str, seed: int) -> None:
        """Run a statement of `__init__` on a module."""
        before = {*vars(owner), *owner._modules, *owner._buffers, *owner._parameters}
        torch.manual_seed(seed)
        _execute(statement, self._names({}, owner))
        (name,) = {*vars(owner), *owner._modules, *owner._buffers, *owner._parameters} - before
        part = getattr(owner, name)
        if isinstance(part, nn.Module):
            settled(part, self.program.dtype)
        elif part.is_floating_point():
            setattr(owner, name, part.to(getattr(torch, self.program.dtype)))

    def line(self, text: str, *makes: str) -> None:
        """Add a statement, or raise Unfit and leave all as it was."""
        try:
            for values in self.values:
                with mode_of(self.program):
                    seed_all(self.program.number)
                    _execute(text, values)
                    self._check(values, makes)
                    if not makes:
                        self._check_written(values, text)
        except Exception as error:
            self._restart()
            raise Unfit(str(error)) from error
        self.lines.append(Line(text, makes))
        read = set(re.findall(r"\w+", text))
        self.unused = [name for name in self.unused if name not in read] + list(makes)

    def let(self, expression: str, prefix: str = "v") -> str:
        """Add the assignment of an expression to a new variable."""
        name = self.new(prefix)
        self.line(f"{name} = {expression}", name)
        return name

    def lines_of(self, statements: Sequence[str]) -> None:
        """Add several statements, or none of them and raise Unfit; what they assign are variables."""
        before = len(self.lines)
        try:
            for text in statements:
                target = re.match(r"(\w+(?:, \w+)*) = ", text)
                names = set(target[1].split(", ")) if target else set()
                self.line(text, *sorted(names - set(self.variables)))
        except Unfit:
            del self.lines[before:]
            self.unused = [name for name in self.unused if name in self.variables]
            self._restart()
            raise

    def _check(self, values: Mapping[str, Any], makes: Sequence[str]) -> None:
        for name in [*makes, *(a.name for a in self.program.arguments)]:
            item = values[name]
            for leaf in item if isinstance(item, tuple | list) else [item]:
                if _is_plain(leaf):
                    _check_tensor(leaf)
                elif isinstance(leaf, float) and not math.isfinite(leaf):
                    raise Unfit("not finite")

    def _check_written(self, values: Mapping[str, Any], text: str) -> None:
        """Refuse writes to elements that lie in one place, of which PyTorch does not say what they do."""
        for name in {*re.findall(r"\w+", text)} & {*self.variables}:
            item = values[name]
            if _is_plain(item) and item.numel():
                last = sum((size - 1) * stride for size, stride in zip(item.shape, item.stride(), strict=True))
                if last + 1 < item.numel():
                    raise Unfit(f"{name} overlaps with itself")

    def filled(self, template: str, **given: str) -> str:
        """A template with its slots filled; `given` are choices already made."""
        made = dict(given)
        self._first = next((name for slot, name in given.items() if slot[0] in "xibt"), "")

        def fill(match: re.Match[str]) -> str:
            slot = match[1]
            if slot not in made:
                value = self._slot(slot)
                if slot[0] in "kpcsdnf" and len(slot) == 1:
                    return value
                made[slot] = value
            return made[slot]

        # Tensors first, since sizes and dimensions are those of the first.
        for match in _SLOT.finditer(template):
            if match[1][0] in "xibt" and match[1] not in made:
                fill(match)
        return _SLOT.sub(fill, template).replace("{{", "{").replace("}}", "}")

    def _slot(self, slot: str) -> str:
        kind, choice = slot[0], self.choice
        if kind in "xibt":
            found = self._tensor(kind, int(slot[-1]) if slot[-1].isdigit() else None)
            self._first = self._first or found
            return found
        if kind == "D":
            return str(self.fixed(self._first, -1 if slot[1] == "l" else int(slot[1])))
        rank = self.value(self._first).dim() if self._first else 1
        if kind == "d":
            if rank == 0:
                raise Unfit("no dimension")
            return str(choice.randrange(-rank, rank))
        if kind == "S":
            return f"{self._first}.shape[{choice.randrange(rank)}]" if rank else "1"
        if kind == "n":
            return self.number()
        if kind == "f":
            return self.pick([n for n in self.variables if type(self.value(n)) is float])
        if kind == "s":
            return self.slice()
        plain = {
            "k": lambda: choice.choice([-3, -2, -1, 0, 1, 2, 3, 5]),
            "p": lambda: choice.choice([1, 1, 2, 2, 3, 4, 7]),
            "c": lambda: choice.choice([0.5, 2.0, -1.5, 0.1, 3.0, 1e-3, 1.0, 0.0, -0.25, 1.7]),
            "o": lambda: choice.choice([4, 6, 8, 12]),
        }
        return str(plain[kind]())

    def _tensor(self, kind: str, rank: int | None) -> str:
        kinds = {"x": FLOATS, "i": INTS, "b": (torch.bool,), "t": (*FLOATS, *INTS, torch.bool)}[kind]
        return self.pick(self.tensors(lambda t: t.dtype in kinds and rank in (None, t.dim())))

    def number(self) -> str:
        """A whole number known on the host: a size, a variable, or arithmetic on them."""
        choice = self.choice
        hosts = [n for n in self.variables if type(self.value(n)) is int]
        tensor = self.pick(self.tensors(lambda t: t.dim() > 0))
        size = f"{tensor}.shape[{choice.randrange(self.value(tensor).dim())}]"
        base = choice.choice(hosts) if hosts and choice.random() < 0.6 else size
        form = choice.choice(["{}"] * 6 + ["{} // 2", "({} + 1) // 2", "{} - 1", "{} + 1", "2 * {}", "{} % 3", "-{}"])
        return form.format(base)

    def slice(self) -> str:
        """The text of a slice, plain or strange."""
        plain = [
            "1:",
            ":-1",
            "::2",
            ":2",
            "-1:",
            "-2:",
            ":1",
            "1:-1",
            "-3:-1",
            ":4",
            "2:",
            "1::3",
            ":",
            "None",
            "0",
            "-1",
        ]
        if self.choice.random() < 0.65:
            return self.choice.choice(plain)
        form = self.choice.choice([":{}", "{}:", "-({}):", ":-({})", "{}:{}", ":{}:2"])
        return re.sub(r"\{\}", lambda _: self.number(), form)


def _is_plain(item: Any) -> bool:
    """Whether it is a tensor that has memory of its own."""
    return isinstance(item, Tensor) and not isinstance(item, Quantized | Summed)


def _execute(text: str, names: dict[str, Any]) -> None:
    exec(compile(text, "<line>", "exec"), names)


def _check_tensor(item: Tensor) -> None:
    if item.numel() > _MOST_ELEMENTS or item.dim() > 6:
        raise Unfit("too large")
    if item.is_complex():
        item = torch.view_as_real(item)
    if item.numel() == 0 or item.dtype == torch.bool:
        return
    largest = item.double().abs().max().item()
    if not largest <= _LARGEST.get(item.dtype, 1e5):
        raise Unfit("values too large, or not numbers")
