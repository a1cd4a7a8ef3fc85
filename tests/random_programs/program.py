"""`Program`: a model as text, what it is called with, and how it is compiled."""

from __future__ import annotations

import itertools
import json
import linecache
import random
import sys
import types
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .layouts import KINDS, LAYOUTS, on_gpu

HEADER = """\
import math
import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn

from tests.subclasses import Quantized, Summed, quantized

"""

_modules = itertools.count()


@dataclass(frozen=True)
class Argument:
    """One tensor argument.

    Attributes:
        name: of the variable in `forward`.
        shape: sizes, or names of dimensions.
        dtype: such as "float32".
        values: "normal", "positive", "index" (0 or 1), "small" (whole numbers of -3 to 5), "equal" (halves of -1 to 1,
            many of them equal) or "mask".
        place: "positional", "keyword", "dict" or "list" (in a dict or list that is the second argument), "rest" or
            "named" (`*rest` and `**named`).
        layout: a key of `layouts.LAYOUTS`: how its memory lies.
        kind: "tensor", "parameter", "grad" (a tensor that requires gradients) or "subclass".
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    values: str = "normal"
    place: str = "positional"
    layout: str = "contiguous"
    kind: str = "tensor"

    def sizes(self, dims: Mapping[str, int]) -> tuple[int, ...]:
        """Its shape at those sizes of the dimensions."""
        return tuple(dims[item] if isinstance(item, str) else item for item in self.shape)

    def tensor(self, dims: Mapping[str, int], generator: torch.Generator) -> Tensor:
        """A tensor of these sizes."""
        sizes, dtype = self.sizes(dims), getattr(torch, self.dtype)
        if self.values in ("normal", "positive"):
            # Eighths: what is compared or rounded rarely lies within an error of its limit.
            made = torch.randint(-20, 21, sizes, generator=generator) / 8
            made = made.abs() + 0.125 if self.values == "positive" else made
        elif self.values == "equal":
            made = torch.randint(-2, 3, sizes, generator=generator) / 2
        else:
            low, high = {"index": (0, 2), "small": (-3, 6), "mask": (0, 2)}[self.values]
            low = 0 if self.dtype == "uint8" else low
            made = torch.randint(low, high, sizes, generator=generator)
        return KINDS[self.kind](LAYOUTS[self.layout](made.to(dtype)))


@dataclass(frozen=True)
class Line:
    """One statement of `forward`, of one or several lines of text without indentation, and the variables it makes."""

    text: str
    makes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """How a program is compiled.

    Attributes:
        frontend: a value of `ir`; "exported" gives an ExportedProgram, "script" gives TorchScript, and "dynamic" is
            torch.compile(dynamic=True).
        executor: "reference", "pytorch" or "tensorrt".
        options: settings, as JSON; precisions by name.
        saved: whether it is saved and loaded, where the front end allows it.
        examples: whether it is given example tensors instead of `tp.Input`s (fixed sizes then).
        mode: "no_grad", "grad" or "inference": in which it is compiled and called.
    """

    frontend: str = "dynamo"
    executor: str = "reference"
    options: Mapping[str, Any] = field(default_factory=dict)
    saved: bool = False
    examples: bool = False
    mode: str = "no_grad"


@dataclass(frozen=True)
class Program:
    """A model as text and how it is tried.

    Attributes:
        number: of the program, from which all follows.
        dtype: to which the module's floating-point weights are cast.
        arguments: tensors that `forward` takes.
        ranges: smallest, usual and largest size of every named dimension.
        layers: statements of `__init__`.
        lines: statements of `forward`.
        returned: the expression it returns.
        case: how it is compiled.
        defaults: arguments that no call gives, with their values, such as "scale: float = 0.5".
    """

    number: int
    dtype: str
    arguments: tuple[Argument, ...]
    ranges: Mapping[str, tuple[int, int, int]]
    layers: tuple[str, ...]
    lines: tuple[Line, ...]
    returned: str
    case: Case
    defaults: tuple[str, ...] = ()

    def source(self) -> str:
        """The model as Python text."""
        arguments = ", ".join(["self", *self._signature()])
        layers = ["super().__init__()", *self.layers]
        body = [*self._unpacked(), *(line.text for line in self.lines), f"return {self.returned}"]
        return "\n".join(
            [
                HEADER,
                "class Found(NamedTuple):",
                "    first: Tensor",
                "    second: Tensor",
                "",
                "",
                "@dataclass",
                "class Answer:",
                "    last: Tensor",
                "    first: Tensor",
                "",
                "",
                "torch.export.register_dataclass(Answer)",
                "",
                "",
                "class Model(nn.Module):",
                "    def __init__(self):",
                *(_indented(text) for text in layers),
                "",
                f"    def forward({arguments}):",
                *(_indented(text) for text in body),
                "",
            ]
        )

    def _signature(self) -> list[str]:
        places = {place: [a.name for a in self.arguments if a.place == place] for place in _PLACES}
        rest = ["*rest: Tensor"] if places["rest"] else ["*"] if places["keyword"] else []
        return [
            *(f"{name}: Tensor" for name in places["positional"]),
            *(["batch: dict[str, Tensor]"] if places["dict"] else []),
            *(["items: list[Tensor]"] if places["list"] else []),
            *self.defaults,
            *rest,
            *places["keyword"],
            *(["**named: Tensor"] if places["named"] else []),
        ]

    def _unpacked(self) -> list[str]:
        lists, rest = ([a.name for a in self.arguments if a.place == place] for place in ("list", "rest"))
        return [
            *(f'{a.name} = batch["{a.name}"]' for a in self.arguments if a.place == "dict"),
            *(f"{name} = items[{index}]" for index, name in enumerate(lists)),
            *(f"{name} = rest[{index}]" for index, name in enumerate(rest)),
            *(f'{a.name} = named["{a.name}"]' for a in self.arguments if a.place == "named"),
        ]

    def placed(self, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of a call, from a value for each argument."""
        by_place = {p: {a.name: values[a.name] for a in self.arguments if a.place == p} for p in _PLACES}
        args: list[Any] = list(by_place["positional"].values())
        if by_place["dict"]:
            args.append(by_place["dict"])
        if by_place["list"]:
            args.append(list(by_place["list"].values()))
        return (*args, *by_place["rest"].values()), {**by_place["keyword"], **by_place["named"]}

    def tensors(self, dims: Mapping[str, int]) -> dict[str, Tensor]:
        """Its arguments at some sizes, always the same for these sizes."""
        generator = torch.Generator().manual_seed(self.number * 31 + sum(dims.values()))
        return {argument.name: argument.tensor(dims, generator) for argument in self.arguments}

    def inputs(self, dims: Mapping[str, int]) -> dict[str, Tensor]:
        """Its arguments at some sizes, where it runs: on the GPU for "tensorrt"."""
        tensors = self.tensors(dims)
        return {n: on_gpu(t) for n, t in tensors.items()} if self.case.executor == "tensorrt" else tensors

    def in_order(self) -> list[Argument]:
        """The arguments in the order of the leaves of a call."""
        return [a for place in _PLACES for a in self.arguments if a.place == place]

    def model(self) -> nn.Module:
        """The module, in eval mode, with random weights that are the same each time."""
        return initialised(load_module(self.source()).Model, self.dtype, self.number)

    def sizes(self, count: int = 6) -> list[dict[str, int]]:
        """Sizes of the dimensions to call it with: usual, smallest, largest ones, and mixed ones."""
        if self.case.examples or not self.ranges:
            return [{name: usual for name, (_, usual, _) in self.ranges.items()}]
        found = [{name: ends[index] for name, ends in self.ranges.items()} for index in (1, 0, 2)]
        choice = random.Random(self.number)
        for _ in range(count - 3):
            found.append({name: choice.randint(low, high) for name, (low, _, high) in self.ranges.items()})
        return [dims for index, dims in enumerate(found) if dims not in found[:index]]

    def file(self, title: str) -> str:
        """The text of a file that tries this program: `python -m tests.random_programs FILE`, or run by itself."""
        record = {
            "number": self.number,
            "dtype": self.dtype,
            "arguments": [asdict(argument) for argument in self.arguments],
            "ranges": dict(self.ranges),
            "layers": list(self.layers),
            "lines": [asdict(line) for line in self.lines],
            "returned": self.returned,
            "case": asdict(self.case),
            "defaults": list(self.defaults),
        }
        words = title.replace("\\", "/").replace('"""', "'''")
        return (
            f'"""{words}"""\n\n{self.source()}\n\n'
            'if __name__ == "__main__":\n'
            "    from tests.random_programs.__main__ import main\n\n"
            "    main([__file__])\n\n"
            f"# The program as data, from which it is tried; the text above is made of it.\n# {json.dumps(record)}\n"
        )

    @classmethod
    def from_file(cls, path: Path) -> Program:
        """The program of such a file."""
        record = json.loads(path.read_text().rstrip().splitlines()[-1].removeprefix("# "))
        return cls(
            record["number"],
            record["dtype"],
            tuple(Argument(**{**item, "shape": tuple(item["shape"])}) for item in record["arguments"]),
            {name: tuple(ends) for name, ends in record["ranges"].items()},
            tuple(record["layers"]),
            tuple(Line(item["text"], tuple(item["makes"])) for item in record["lines"]),
            record["returned"],
            Case(**record["case"]),
            tuple(record.get("defaults", ())),
        )

    def with_case(self, **changes: Any) -> Program:
        """The same program, compiled otherwise."""
        return replace(self, case=replace(self.case, **changes))


_PLACES = ("positional", "dict", "list", "rest", "keyword", "named")


def mode_of(program: Program) -> AbstractContextManager[Any]:
    """The mode in which a program is compiled and called."""
    modes: dict[str, Callable[[], Any]] = {
        "no_grad": torch.no_grad,
        "grad": torch.enable_grad,
        "inference": torch.inference_mode,
    }
    return modes[program.case.mode]()


def seed_all(number: int) -> None:
    """Let Python, numpy and PyTorch draw the random numbers of a call, which another call does not draw."""
    random.seed(number)
    np.random.seed(number % (1 << 32))
    torch.manual_seed(number)


def _indented(text: str) -> str:
    return "\n".join(f"        {line}" for line in text.splitlines())


def load_module(source: str) -> Any:
    """The module of a text, whose lines errors show and TorchScript finds, though there is no file."""
    name = f"random_program_{next(_modules)}"
    path = f"<{name}>"
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    module = types.ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    exec(compile(source, path, "exec"), vars(module))
    return module


def initialised(kind: type[nn.Module], dtype: str, number: int) -> nn.Module:
    """A module in eval mode with random weights, and statistics that are not those of a new one."""
    torch.manual_seed(number)
    return settled(kind(), dtype)


def settled(module: nn.Module, dtype: str) -> nn.Module:
    """The module in eval mode and that type; normalizations with statistics as after some training."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._NormBase) and part.running_mean is not None:
            part.running_mean.normal_(0, 0.3)
            assert part.running_var is not None
            part.running_var.uniform_(0.5, 1.5)
    return module.to(getattr(torch, dtype)).eval().requires_grad_(False)
