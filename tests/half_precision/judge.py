"""Whether a network of halves is as exact as PyTorch is in the same type, however large or small the numbers are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils import _pytree as pytree

from tests.oracle import Converted, converted

Tensors = tuple[torch.Tensor, ...]

_TIMES, _ULPS = 8, 4
"""A result may err by this many times what PyTorch's errs, and by this many units in the last place."""

_FLOAT32 = 2.0**-22
"""What sums in float32 may err by, of the largest number in a result, where their terms cancel."""


@dataclass(frozen=True)
class Finding:
    """A network that overflows, or is much less exact than PyTorch.

    Attributes:
        magnitude: the name of the numbers that it was given.
        text: what is wrong, with the worst element.
    """

    magnitude: str
    text: str


class Flat(torch.nn.Module):
    """A function whose results are given as one flat tuple of tensors."""

    def __init__(self, function: torch.nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> Tensors:
        results = pytree.tree_leaves(self.function(*tensors))
        return tuple(result for result in results if isinstance(result, torch.Tensor))


def magnitudes(tensors: Sequence[torch.Tensor], dtype: torch.dtype) -> Iterator[tuple[str, Tensors]]:
    """The tensors in a type, with floats as they are, of a few hundred, near the type's limit, small, and subnormal."""
    half = dtype == torch.float16
    # bfloat16 reaches as far as float32, whose squares end at 1e19: there PyTorch's kernels for devices end too.
    wanted = {"usual": None, "hundreds": 300.0, "large": 16000.0 if half else 1e15, "small": 1e-2, "tiny": 2e-4}
    for name, largest in wanted.items():
        yield name, tuple(_scaled(tensor, largest, dtype) for tensor in tensors)


def _scaled(tensor: torch.Tensor, largest: float | None, dtype: torch.dtype) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    if largest is None or not tensor.numel() or not tensor.abs().max() > 0:
        return tensor.to(dtype)
    return (tensor.double() / tensor.abs().max().double() * largest).to(dtype)


def findings(
    function: torch.nn.Module, tensors: Sequence[torch.Tensor], dtype: torch.dtype, *, rounds_parts: bool = False
) -> list[Finding]:
    """What is wrong with the network of a function of tensors, which are given in float32.

    Args:
        function: takes the tensors.
        tensors: of usual numbers.
        dtype: float16 or bfloat16.
        rounds_parts: whether the network may round what it adds up, so that the units in the last place are those of
            the largest number in the result.

    Raises:
        Exception: PyTorch or torch.export do not take the function, or some operator of it has no converter.
    """
    module = Flat(function)
    given = dict(magnitudes(tensors, dtype))
    network = converted(module, given["usual"])
    found = []
    for name, numbers in given.items():
        text = _fault(module, network, numbers, rounds_parts)
        if text is not None:
            found.append(Finding(name, text))
    return found


def _fault(module: torch.nn.Module, network: Converted, tensors: Tensors, rounds_parts: bool) -> str | None:
    with torch.no_grad():
        exact = module(*(tensor.double() if tensor.is_floating_point() else tensor.clone() for tensor in tensors))
    names = [node.name for node in network.program.output_node.args[0]]
    results = dict(zip(dict.fromkeys(names), network.run(tensors), strict=True))
    expected = _eager(module, tensors)
    if expected is None:
        expected = tuple(item.to(results[name].dtype) for name, item in zip(names, exact, strict=True))
    for index, (name, eager, truth) in enumerate(zip(names, expected, exact, strict=True)):
        text = fault(results[name], eager, truth, rounds_parts=rounds_parts)
        if text is not None:
            return f"result {index}: {text}"
    return None


def _eager(module: torch.nn.Module, tensors: Tensors) -> Tensors | None:
    """What PyTorch computes in the type itself; None if its kernels for the CPU do not take the type."""
    try:
        with torch.no_grad():
            results: Tensors = module(*(tensor.clone() for tensor in tensors))
    except NotImplementedError:
        return None
    return results


def fault(result: torch.Tensor, eager: torch.Tensor, exact: torch.Tensor, *, rounds_parts: bool = False) -> str | None:
    """What is wrong with a result beside eager's and that of float64; None if nothing is. See `findings`."""
    if result.dtype != eager.dtype or result.shape != eager.shape:
        # Programs that write to their inputs return those first.
        raise ValueError(f"{result.dtype}{list(result.shape)} is no result to compare with {eager.dtype}")
    if not eager.is_floating_point() or eager.dtype not in (torch.float16, torch.bfloat16):
        return None
    limits = torch.finfo(eager.dtype)
    result, eager, exact = (item.double().flatten() for item in (result, eager, exact))
    judged = eager.isfinite() & exact.isfinite() & (exact.abs() < limits.max)
    lost = judged & ~result.isfinite()
    if lost.any():
        return f"{result[lost][0]:g} in place of {eager[lost][0]:g}"
    # Below the normal numbers a unit in the last place stays what it is.
    largest = exact[judged].abs().max().item() if judged.any() else 0.0
    least = largest if rounds_parts else largest * _FLOAT32 / limits.eps
    unit = torch.clamp(exact.abs(), min=max(limits.tiny, least)) * limits.eps
    ours, theirs = ((item - exact).abs() / unit for item in (result, eager))
    ours, theirs = (torch.where(judged, item, torch.zeros(())) for item in (ours, theirs))
    if not judged.any() or ours.max() <= max(_TIMES * theirs.max().item(), _ULPS):
        return None
    worst = ours.argmax()
    return (
        f"{result[worst]:g} in place of {exact[worst]:g}, {ours.max():.0f} units in the last place off where PyTorch "
        f"is {theirs.max():.1f}"
    )
