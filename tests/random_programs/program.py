"""One random program, and whether an engine of it is right."""

from __future__ import annotations

import copy
import random
import warnings
from dataclasses import dataclass, field
from enum import StrEnum

import torch
import trt_passes as tp
from torch import Tensor, nn

from .operators import BINARY, OF_IMAGES, OF_ROWS, UNARY

_SHAPES = {"matrix": ("rows", "size"), "sequences": (2, "rows", "size"), "images": (2, "size", 6, 8)}
_UNARY_SHARE, _BINARY_SHARE = 0.42, 0.2
_LARGEST = 1e4
"""Programs with larger values are not judged: halves end at 65504, and roundings grow on the way."""


class RandomProgram(nn.Module):
    """Three to nine steps, each on results of earlier ones, of which one or two are returned.

    Attributes:
        steps: name of the operator, and the positions of its tensors among all results; 0 is the input.
        half: whether it is meant for float16.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        choice = random.Random(seed)
        self.layout = choice.choice(list(_SHAPES))
        self.half_precision = choice.random() < 0.35
        self.sizes = {"size": choice.choice([8, 16, 24, 64]), "rows": choice.choice([2, 3, 4, 5, 16, 33])}
        self.steps: list[tuple[str, str, int, int]] = []
        weighted = OF_IMAGES if self.layout == "images" else OF_ROWS
        for count in range(1, choice.randint(4, 10)):
            draw = choice.random()
            kind = "unary" if draw < _UNARY_SHARE else "binary" if draw < _UNARY_SHARE + _BINARY_SHARE else "weighted"
            name = choice.choice(list({"unary": UNARY, "binary": BINARY, "weighted": weighted}[kind]))
            first = count - 1 if choice.random() < 0.75 else choice.randrange(count)
            self.steps.append((kind, name, first, choice.randrange(count)))
        self.returned = sorted({len(self.steps), choice.randrange(1, len(self.steps) + 1)})
        generator = torch.Generator().manual_seed(seed)
        size = self.sizes["size"]
        shapes = [((size, size), size**-0.5), ((size,), 1.0), ((size,), 1.0), ((size, size, 3, 3), size**-0.5 / 3)]
        self.weights = nn.ParameterList(torch.randn(shape, generator=generator) * scale for shape, scale in shapes)
        shape = [self.sizes[item] if isinstance(item, str) else item for item in _SHAPES[self.layout]]
        self.example = torch.randn(shape, generator=generator)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The results of the steps that are returned."""
        weighted, results = OF_IMAGES if self.layout == "images" else OF_ROWS, [x]
        for kind, name, first, second in self.steps:
            if kind == "unary":
                results.append(UNARY[name](results[first]))
            elif kind == "binary":
                results.append(BINARY[name](results[first], results[second]))
            else:
                results.append(weighted[name](results[first], list(self.weights)))
        return tuple(results[position] for position in self.returned)

    def __str__(self) -> str:
        lines = [f"%{i + 1} = {name}(%{a}, %{b})" for i, (_, name, a, b) in enumerate(self.steps)]
        dtype = "float16" if self.half_precision else "float32"
        returned = ", ".join(f"%{position}" for position in self.returned)
        return "\n".join([f"%0 = {dtype}{list(self.example.shape)}", *lines, f"return {returned}"])


class Judgement(StrEnum):
    """What became of a program."""

    RIGHT = "right"
    WRONG = "wrong"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Judged:
    """A program, and the relative L2 errors of its results beside those of PyTorch in the lower precision."""

    seed: int
    judgement: Judgement
    errors: list[float] = field(default_factory=list)
    usual: list[float] = field(default_factory=list)


def alone() -> None:
    """Prepare a process that is one of many."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def judged(seed: int, executor: str) -> Judged:
    """Compile a program and compare its results with PyTorch's in float64.

    It is wrong if an error is above 2 % and more than ten times that of eager in float16, or in float32 with inputs and
    weights rounded to TF32.

    Args:
        seed: of the program.
        executor: "tensorrt" runs it on a GPU, "reference" evaluates its networks.
    """
    program = RandomProgram(seed).eval()
    x = program.example.half() if program.half_precision else program.example
    lower = program.half() if program.half_precision else program
    with torch.no_grad():
        exact = copy.deepcopy(lower).double()(x.double())
        if not all(item.isfinite().all() and item.abs().max() < _LARGEST for item in exact):
            return Judged(seed, Judgement.NOT_JUDGED)
        usual = _errors(lower(x) if program.half_precision else _tf32(copy.deepcopy(lower))(_rounded(x)), exact)
        options = {"enabled_precisions": {torch.float16}} if program.half_precision else {}
        compiled = tp.compile(lower, (x,), min_block_size=1, executor=executor, **options)
        errors = _errors(compiled.cuda()(x.cuda()) if executor == "tensorrt" else compiled(x), exact)
    right = all(error < max(10 * limit, 2e-2) for error, limit in zip(errors, usual, strict=True))
    return Judged(seed, Judgement.RIGHT if right else Judgement.WRONG, errors, usual)


def _errors(found: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> list[float]:
    norm = torch.linalg.vector_norm
    return [float(norm(a.cpu().double() - b) / (norm(b) + 1e-6)) for a, b in zip(found, exact, strict=True)]


def _tf32(program: RandomProgram) -> RandomProgram:
    for weight in program.weights:
        weight.copy_(_rounded(weight))
    return program


def _rounded(x: Tensor) -> Tensor:
    """A float32 tensor with the ten bits of mantissa that TF32 has."""
    return ((x.view(torch.int32) + (1 << 12) >> 13) << 13).view(torch.float32)
